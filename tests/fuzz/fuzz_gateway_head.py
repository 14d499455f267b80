"""gatewayhead.parse returns an object whose encoding is exactly the input, or raises Malformed."""

from support import examples as ex
from tallystick.evidence import gatewayhead
from tallystick.evidence.errors import Malformed

SEEDS = (ex.gatewayhead_bytes(),)


def target(data: bytes) -> None:
    try:
        got = gatewayhead.parse(data)
    except Malformed:
        return
    assert got.encode() == data
