"""queueorder.parse returns what has, made anew, the same payload, or raises Malformed."""

from support import joins
from tallystick.evidence import cbor, queueorder
from tallystick.evidence.errors import Malformed

SEEDS = (joins.order(),)


def target(data: bytes) -> None:
    try:
        got = queueorder.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == got.received().payload
    assert got.encode() == data
