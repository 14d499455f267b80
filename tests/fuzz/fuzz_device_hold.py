"""devicehold.parse returns what has, made anew, the same payload, or raises Malformed."""

from support import deviceholds
from tallystick.evidence import cbor, devicehold
from tallystick.evidence.errors import Malformed

SEEDS = (deviceholds.hold(), deviceholds.hold(4, None))


def target(data: bytes) -> None:
    try:
        got = devicehold.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == got.received().payload
    assert got.encode() == data
