"""joinrequest.parse returns what has, made anew, the same bytes, or raises Malformed."""

from support import joins
from tallystick.evidence import cbor, joinrequest
from tallystick.evidence.errors import Malformed

SEEDS = (joins.join().encode(),)


def target(data: bytes) -> None:
    try:
        got = joinrequest.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == data
    assert got.encode() == data
