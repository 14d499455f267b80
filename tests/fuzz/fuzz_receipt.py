"""receipt.parse returns what, made anew, is exactly the input, or raises Malformed."""

from support import examples as ex
from tallystick.evidence import receipt
from tallystick.evidence.errors import Malformed

SEEDS = (ex.inclusion_receipt(4, 8), ex.inclusion_receipt(0, 1, ex.GATEWAY))


def target(data: bytes) -> None:
    try:
        got = receipt.parse(data)
    except Malformed:
        return
    signed = receipt.SignedRoot(got.sign1.protected, got.sign1.signature)
    assert signed.inclusion(got.size, got.index, got.path) == data
