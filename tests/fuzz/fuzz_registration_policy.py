"""registration.parse returns what has, made anew, the same payload, or raises Malformed."""

from support import circles
from tallystick.evidence import cbor, registration
from tallystick.evidence.errors import Malformed

SEEDS = (circles.policy(), circles.policy(previous=bytes(32)))


def target(data: bytes) -> None:
    try:
        got = registration.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == got.received().payload
    assert got.encode() == data
