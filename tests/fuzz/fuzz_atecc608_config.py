"""custody_atecc608.parse returns what has, made anew, the same bytes, or raises Malformed."""

from support import heldkeys
from tallystick.evidence import cbor, custody_atecc608
from tallystick.evidence.errors import Malformed

SEEDS = (heldkeys.atecc608().encode(),)


def target(data: bytes) -> None:
    try:
        got = custody_atecc608.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == data
    assert got.encode() == data
