"""parse_consistency returns what, made anew, is exactly the input, or raises Malformed."""

from support import examples as ex
from tallystick.evidence import receipt
from tallystick.evidence.errors import Malformed

SEEDS = (ex.consistency_receipt(3, 8), ex.consistency_receipt(4, 8))


def target(data: bytes) -> None:
    try:
        got = receipt.parse_consistency(data)
    except Malformed:
        return
    signed = receipt.SignedRoot(got.sign1.protected, got.sign1.signature)
    assert signed.consistency(got.size1, got.size2, got.path) == data
