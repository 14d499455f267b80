"""First phase of checking a half in a small heap: its claim (docs/protocol.md, 4.2)."""

# _halfcheck.py checks all of a half at once and keeps all that it read.  A microcontroller has no
# room for that: it goes through halfclaim.py, halfhead.py and halfmaker.py, and forgets the code of
# each before the next.  tests/evidence/test_halfphases.py holds both ways to one answer.

from tallystick.evidence import _shape as shape
from tallystick.evidence import claim as claims
from tallystick.evidence._fields import half_fields
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.kinds import CLAIM, HALF
from tallystick.evidence.limits import HALF_BYTES_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# First bytes of records by kind, as in record.py.
_HEADS = b"\x87\x8c\x84\x83"


def parts_of(data: bytes) -> "list[Any]":
    """Record, salt, index, path, checkpoint, credential: as half.parse."""
    parts = shape.fields(data, HALF, 6, HALF_BYTES_MAX, "half")
    half_fields(*parts)
    return parts


def claimed(record: bytes) -> tuple[list[bytes], list[bytes]]:
    """(device ids of the maker's role, all device ids) of the claim that the record must be."""
    if len(record) < 2:
        raise Malformed("truncated", "a record of less than two bytes")
    if record[1] >= len(_HEADS) or record[0] != _HEADS[record[1]]:
        raise Malformed("unknown-kind", "the bytes do not begin like a record")
    if record[1] != CLAIM:
        raise Unverified("bad-half", "a half whose record is no claim")
    claim = claims.parse(record)
    everyone = []
    for ids in claim.parties.values():
        everyone += ids
    return list(claim.parties.get(claim.role, ())), everyone
