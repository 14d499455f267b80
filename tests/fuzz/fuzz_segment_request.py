"""segmentrequest.parse returns what has, made anew, the same payload, or raises Malformed."""

from support import deviceholds
from tallystick.evidence import cbor, segmentrequest
from tallystick.evidence.errors import Malformed

SEEDS = (deviceholds.request(),)


def target(data: bytes) -> None:
    try:
        got = segmentrequest.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == got.received().payload
    assert got.encode() == data
