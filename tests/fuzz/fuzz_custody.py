"""custody.parse returns what has, made anew, the same payload, or raises Malformed."""

from support import examples
from tallystick.evidence import cbor, custody
from tallystick.evidence.errors import Malformed

SEEDS = tuple(one.data for one in examples.everything() if one.rule == "custody-receipt")


def target(data: bytes) -> None:
    try:
        got = custody.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == got.received().payload
    assert got.encode() == data
