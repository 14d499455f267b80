"""ECDSA over P-256 with SHA-256 (FIPS 186-5, section 6.4.2) in pure Python and bounded steps."""

# Verification only: a software key on MicroPython is Ed25519.

from hashlib import sha256

from tallystick.evidence._power import power
from tallystick.evidence.errors import Unverified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.evidence._power import Steps

    Point = tuple[int, int, int]

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_GX = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
_GY = 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5
_INFINITY = (1, 1, 0)


def _double(p: "Point") -> "Point":
    # Jacobian coordinates, a = -3.
    x, y, z = p
    zz = z * z % P
    m = 3 * (x - zz) * (x + zz) % P
    yy = y * y % P
    s = 4 * x * yy % P
    x3 = (m * m - 2 * s) % P
    return x3, (m * (s - x3) - 8 * yy * yy) % P, 2 * y * z % P


def _add(p: "Point", q: "Point") -> "Point":
    x1, y1, z1 = p
    x2, y2, z2 = q
    if not z1:
        return q
    if not z2:
        return p
    zz1 = z1 * z1 % P
    zz2 = z2 * z2 % P
    u1 = x1 * zz2 % P
    h = (x2 * zz1 - u1) % P
    s1 = y1 * zz2 * z2 % P
    r = (y2 * zz1 * z1 - s1) % P
    if not h:
        # The same point, or one and its opposite: the formula below does not hold for them.
        return _INFINITY if r else _double(p)
    hh = h * h % P
    hhh = h * hh % P
    v = u1 * hh % P
    x3 = (r * r - hhh - 2 * v) % P
    return x3, (r * (v - x3) - s1 * hhh) % P, h * z1 * z2 % P


def _bad(why: str) -> Unverified:
    return Unverified("bad-signature", "P-256: " + why)


def verify(raw: bytes, signature: bytes, message: bytes) -> "Steps":
    """Ends, or raises Unverified.  `raw` is X || Y of a point on the curve (keys.py checks it)."""
    r = int.from_bytes(signature[:32], "big")
    s = int.from_bytes(signature[32:], "big")
    # r and s are in range, and s is low: keys.py refuses others before anything is computed.
    w = yield from power(s, N - 2, N)
    u1 = int.from_bytes(sha256(message).digest(), "big") * w % N
    u2 = r * w % N
    key = (int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"), 1)
    # u1 * G + u2 * key, two bits of both scalars a step.
    table = [_INFINITY, (_GX, _GY, 1), _double((_GX, _GY, 1))]
    table.append(_add(table[2], table[1]))
    for row in range(1, 4):
        for column in range(4):
            table.append(_add(table[4 * row - 4 + column], key))
        yield
    point = _INFINITY
    for shift in range(254, -1, -2):
        point = _double(_double(point))
        point = _add(point, table[((u1 >> shift) & 3) | ((u2 >> shift) & 3) << 2])
        yield
    x, _, z = point
    zz = z * z % P
    # x / z^2 mod p mod n is r, without a division: the affine x is r, or r + n where that is < p.
    if not z or (x != r * zz % P and (r + N >= P or x != (r + N) * zz % P)):
        raise _bad("the signature is not by this key over these bytes")
