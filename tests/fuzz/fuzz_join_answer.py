"""joinanswer.parse returns what has, made anew, the same payload, or raises Malformed."""

from support import joins
from tallystick.evidence import cbor, joinanswer
from tallystick.evidence.errors import Malformed

SEEDS = (joins.signed_answer(),)


def target(data: bytes) -> None:
    try:
        got = joinanswer.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == got.received().payload
    assert got.encode() == data
