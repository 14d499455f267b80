"""checkpoint.parse returns what has, made anew, the same payload, or raises Malformed."""

from support import examples
from tallystick.evidence import cbor, checkpoint
from tallystick.evidence.errors import Malformed

SEEDS = tuple(one.data for one in examples.everything() if one.rule == "checkpoint")


def target(data: bytes) -> None:
    try:
        got = checkpoint.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == got.received().payload
    assert got.encode() == data
