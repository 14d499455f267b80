"""ahead.prepare finds facts in what is a batch, or raises TallyError; packed, they come back."""

import zstandard

from support import examples as ex
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.validator import ahead

SEEDS = (ex.the_batch(), ahead.pack([bytes(32), bytes(31) + b"x"]))
_KEYS = [one.public_key() for one in (ex.GATEWAY, ex.GIVER)]


def target(data: bytes) -> None:
    try:
        facts = ahead.unpack(data)
    except Malformed:
        pass
    else:
        assert ahead.unpack(ahead.pack(sorted(facts))) == facts
    try:
        found = ahead.prepare(zstandard.compress(data), lambda _: _KEYS)
    except TallyError:
        return
    assert ahead.unpack(ahead.pack(found)) == frozenset(found)
