# What a P-256 key and signature must look like: part of keys.py, loaded when one is met.

from tallystick.evidence.errors import Malformed, Unverified

SIGNATURE_SIZE = 64
_P256 = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B256 = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_N256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def check_point(raw: bytes) -> None:
    """Malformed unless X || Y is a point of the curve."""
    x = int.from_bytes(raw[:32], "big")
    y = int.from_bytes(raw[32:], "big")
    if x >= _P256 or y >= _P256 or (y * y - x * x * x + 3 * x - _B256) % _P256:
        raise Malformed("bad-key", "a P-256 key is no point of the curve")


def check_signature(signature: bytes) -> None:
    """Unverified unless it is r || s of 64 bytes, both are in range and s is the lower one."""
    if type(signature) is not bytes or len(signature) != SIGNATURE_SIZE:
        raise Unverified("bad-signature", "a signature must be 64 bytes, r || s, not DER")
    r = int.from_bytes(signature[:32], "big")
    s = int.from_bytes(signature[32:], "big")
    if not (0 < r < _N256 and 0 < s < _N256):
        raise Unverified("bad-signature", "P-256: r and s must be 1 to n-1")
    # (r, n-s) verifies as well; one of the two is refused, so that nobody can make a second one.
    if s > _N256 >> 1:
        raise Unverified("bad-signature", "P-256: s is above half the order")


def low_s(signature: bytes) -> bytes:
    """The P-256 signature with the lower of s and n-s: what a chip's driver must emit."""
    s = int.from_bytes(signature[32:], "big")
    if s > _N256 >> 1:
        return signature[:32] + (_N256 - s).to_bytes(32, "big")
    return signature
