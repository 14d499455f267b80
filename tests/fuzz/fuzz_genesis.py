"""genesis.parse returns an object whose encoding is exactly the input, or raises Malformed."""

from support import examples as ex
from tallystick.evidence import genesis
from tallystick.evidence.errors import Malformed

SEEDS = (ex.the_genesis(),)


def target(data: bytes) -> None:
    try:
        got = genesis.parse(data)
    except Malformed:
        return
    assert got.encode() == data
