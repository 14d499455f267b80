"""batch.parse returns what has, made anew, the same payload, or raises Malformed."""

from support import examples as ex
from tallystick.evidence import batch, cbor
from tallystick.evidence.errors import Malformed

SEEDS = (ex.the_batch(),)


def target(data: bytes) -> None:
    try:
        got = batch.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == got.received().payload
    assert got.encode() == data
