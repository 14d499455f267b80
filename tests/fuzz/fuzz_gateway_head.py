"""gatewayhead.parse returns what has, made anew, the same payload, or raises Malformed."""

from support import examples as ex
from tallystick.evidence import cbor, gatewayhead
from tallystick.evidence.errors import Malformed

SEEDS = (ex.gatewayhead_bytes(),)


def target(data: bytes) -> None:
    try:
        got = gatewayhead.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == got.received().payload
    assert got.encode() == data
