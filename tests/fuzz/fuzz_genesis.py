"""genesis.parse returns what has, made anew, the same payload, or raises Malformed."""

from support import examples as ex
from tallystick.evidence import cbor, genesis
from tallystick.evidence.errors import Malformed

SEEDS = (ex.the_genesis(),)


def target(data: bytes) -> None:
    try:
        got = genesis.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == got.received().payload
    assert got.encode() == data
