"""erasure.parse returns what has, made anew, the same payload, or raises Malformed."""

from support import examples as ex
from tallystick.evidence import cbor, erasure
from tallystick.evidence.errors import Malformed

SEEDS = (ex.erasure_request(), ex.erasure_retention())


def target(data: bytes) -> None:
    try:
        got = erasure.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == got.received().payload
    assert got.encode() == data
    for first, to in got.ranges:
        assert got.covers(first)
        assert got.covers(to - 1)
        assert not got.covers(to)
