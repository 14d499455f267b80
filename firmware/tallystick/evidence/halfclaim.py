"""First phase of checking a half in a small heap: its claim (docs/protocol.md, 4.2)."""

# _halfcheck.py checks all of a half at once and keeps all that it read.  A microcontroller has no
# room for that: it goes through halfclaim.py, halfhead.py and halfmaker.py, and forgets the code of
# each before the next.  tests/evidence/test_halfphases.py holds both ways to one answer.

from tallystick.evidence import claim as claims
from tallystick.evidence.errors import Unverified
from tallystick.evidence.kinds import CLAIM
from tallystick.evidence.record import kind_of


def claimed(record: bytes) -> tuple[list[bytes], list[bytes]]:
    """(device ids of the maker's role, all device ids) of the claim that the record must be."""
    if kind_of(record) != CLAIM:
        raise Unverified("bad-half", "a half whose record is no claim")
    claim = claims.parse(record)
    everyone = []
    for ids in claim.parties.values():
        everyone += ids
    return list(claim.parties.get(claim.role, ())), everyone
