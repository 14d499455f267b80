"""batch.parse returns an object whose encoding is exactly the input, or raises Malformed."""

from support import examples as ex
from tallystick.evidence import batch
from tallystick.evidence.errors import Malformed

SEEDS = (ex.the_batch(),)


def target(data: bytes) -> None:
    try:
        got = batch.parse(data)
    except Malformed:
        return
    assert got.encode() == data
