"""attester.parse returns what has, made anew, the same payload, or raises Malformed."""

from support import heldkeys
from tallystick.evidence import attester, cbor
from tallystick.evidence.errors import Malformed

SEEDS = (heldkeys.attester(),)


def target(data: bytes) -> None:
    try:
        got = attester.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == got.received().payload
    assert got.encode() == data
