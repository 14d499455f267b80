"""half.parse returns what, made anew, is exactly the input, or raises Malformed."""

from support import examples
from tallystick.evidence import cbor, half
from tallystick.evidence.errors import Malformed

SEEDS = tuple(one.data for one in examples.everything() if one.rule == "half")


def target(data: bytes) -> None:
    try:
        got = half.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == data
