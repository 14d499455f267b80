"""quotarefusal.parse returns what has, made anew, the same payload, or raises Malformed."""

from support import circles
from tallystick.evidence import cbor, quotarefusal
from tallystick.evidence.errors import Malformed

SEEDS = (circles.refusal(),)


def target(data: bytes) -> None:
    try:
        got = quotarefusal.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == got.received().payload
    assert got.encode() == data
