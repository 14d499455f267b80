"""custody_tpm2.parse returns what has, made anew, the same bytes, or raises Malformed."""

from support import heldkeys
from tallystick.evidence import cbor, custody_tpm2
from tallystick.evidence.errors import Malformed

SEEDS = (heldkeys.tpm2().encode(),)


def target(data: bytes) -> None:
    try:
        got = custody_tpm2.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == data
    assert got.encode() == data
