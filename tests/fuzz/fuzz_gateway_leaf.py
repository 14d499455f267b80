"""gatewaylog.parse returns what, made anew, is exactly the input, or raises Malformed."""

from support import examples as ex
from tallystick.evidence import cbor, gatewaylog
from tallystick.evidence.errors import Malformed

SEEDS = tuple(leaf.encode() for leaf in ex.gateway_log())


def target(data: bytes) -> None:
    try:
        got = gatewaylog.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == data
