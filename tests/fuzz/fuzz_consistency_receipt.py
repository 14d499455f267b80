"""parse_consistency returns a receipt whose encoding is exactly the input, or raises Malformed."""

from support import examples as ex
from tallystick.evidence import receipt
from tallystick.evidence.errors import Malformed

SEEDS = (ex.consistency_receipt(3, 8), ex.consistency_receipt(4, 8))


def target(data: bytes) -> None:
    try:
        got = receipt.parse_consistency(data)
    except Malformed:
        return
    assert got.encode() == data
