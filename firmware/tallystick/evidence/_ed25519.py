"""Ed25519 (RFC 8032) in pure Python and bounded steps; decides as libsodium does."""

# For MicroPython, where nothing faster is.  It is not constant in time: whoever can time the
# device closely enough can also read its software key.

from tallystick.evidence._power import power
from tallystick.evidence._sha512 import sha512
from tallystick.evidence.errors import Unverified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.evidence._power import Steps

    Point = tuple[int, int, int, int]

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = 0x52036CEE2B6FFE738CC740797779E89800700A4D4141D8AB75EB4DCA135978A3
_2D = 2 * D % P
_ROOT = 0x2B8324804FC1DF0B2B4D00993DFBD7A72F431806AD2FE478C4EE1B274A0EA0B0  # of -1
_BX = 0x216936D3CD6E53FEC0A4E231FDD6DC5C692CC7609525A7B2C9562D608F25D51A
_BY = 0x6666666666666666666666666666666666666666666666666666666666666658
_BASE = (_BX, _BY, 1, _BX * _BY % P)
_ZERO = (0, 1, 1, 0)
# y of the points whose order divides 8 (see keys.py).
_LOW_Y = 2707385501144840649318225287225658788936804267575313519463743609750303402022


def _add(p: "Point", q: "Point") -> "Point":
    # RFC 8032, 5.1.4: complete, so that no pair of points is an exception.
    x1, y1, z1, t1 = p
    x2, y2, z2, t2 = q
    a = (y1 - x1) * (y2 - x2) % P
    b = (y1 + x1) * (y2 + x2) % P
    c = t1 * _2D % P * t2 % P
    d = z1 * 2 * z2 % P
    e = b - a
    f = d - c
    g = d + c
    h = b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _double(p: "Point") -> "Point":
    x, y, z, _ = p
    a = x * x % P
    b = y * y % P
    h = a + b
    e = h - (x + y) * (x + y) % P
    g = a - b
    f = 2 * z * z % P + g
    return e * f % P, g * h % P, f * g % P, e * h % P


def _multiple(s: int) -> "Steps":
    # The point s * B, two bits of the scalar a step.
    twice = _double(_BASE)
    table = (_ZERO, _BASE, twice, _add(twice, _BASE))
    point = _ZERO
    for shift in range(254, -1, -2):
        point = _double(_double(point))
        # Nothing is skipped: a zero digit costs what another costs.
        point = _add(point, table[(s >> shift) & 3])
        yield
    return point


def _sum_of_multiples(s: int, h: int, q: "Point") -> "Steps":
    # The point s * B + h * q.  Nothing here is secret, so zero digits are skipped: a third of the
    # digits of 3n - n, without a borrow, are not zero.  A table would cost a small heap too much.
    three_s = 3 * s
    three_h = 3 * h
    point = _ZERO
    for bit in range(255, 0, -1):
        point = _double(point)
        for n, three, (x, y, z, t) in ((s, three_s, _BASE), (h, three_h, q)):
            digit = ((three >> bit) & 1) - ((n >> bit) & 1)
            if digit:
                point = _add(point, (digit * x, y, z, digit * t))
        if bit & 1:
            yield
    return point


def _encode(point: "Point") -> "Steps":
    x, y, z, _ = point
    inverse = yield from power(z, P - 2, P)
    x = x * inverse % P
    y = y * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _decode(raw: bytes) -> "Steps":
    # RFC 8032, 5.1.3.  The key is canonical and of no low order: keys.py has seen to that.
    y = int.from_bytes(raw, "little")
    sign = y >> 255
    y &= (1 << 255) - 1
    u = (y * y - 1) % P
    v = (D * y * y + 1) % P
    root = yield from power(u * v**7 % P, (P - 5) // 8, P)
    x = u * v**3 * root % P
    if (v * x * x - u) % P:
        x = x * _ROOT % P
        if (v * x * x - u) % P:
            return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


def _bad(why: str) -> Unverified:
    return Unverified("bad-signature", "Ed25519: " + why)


def verify(raw: bytes, signature: bytes, message: bytes) -> "Steps":
    """Ends, or raises Unverified: cofactorless, R compared byte by byte (RFC 8032, 5.1.7)."""
    s = int.from_bytes(signature[32:], "little")
    if s >= L:
        raise _bad("S is not below the order")
    # libsodium refuses an R of low order; only a key that signs nonsense makes one.
    low = int.from_bytes(signature[:32], "little") & ((1 << 255) - 1)
    if low in (0, 1, P - 1, _LOW_Y, P - _LOW_Y):
        raise _bad("R is of low order")
    point = yield from _decode(raw)
    if not point:
        raise _bad("the key is no point")
    digest = yield from sha512(signature[:32] + raw + message)
    h = int.from_bytes(digest, "little") % L
    x, y, z, t = point
    point = yield from _sum_of_multiples(s, h, (P - x, y, z, P - t))
    expected = yield from _encode(point)
    if expected != signature[:32]:
        raise _bad("the signature is not by this key over these bytes")


def _expand(secret: bytes) -> "Steps":
    # RFC 8032, 5.1.5: scalar and prefix.
    digest = yield from sha512(secret)
    scalar = int.from_bytes(digest[:32], "little")
    scalar &= (1 << 254) - 8
    scalar |= 1 << 254
    return scalar, digest[32:]


def public_key(secret: bytes) -> "Steps":
    """The 32 bytes of the public key."""
    scalar, _ = yield from _expand(secret)
    point = yield from _multiple(scalar)
    return (yield from _encode(point))


def sign(secret: bytes, raw: bytes, message: bytes) -> "Steps":
    """64 bytes (RFC 8032, 5.1.6); `raw` must be the public key of `secret`."""
    scalar, prefix = yield from _expand(secret)
    digest = yield from sha512(prefix + message)
    r = int.from_bytes(digest, "little") % L
    point = yield from _multiple(r)
    commitment = yield from _encode(point)
    digest = yield from sha512(commitment + raw + message)
    s = (r + int.from_bytes(digest, "little") % L * scalar) % L
    return commitment + s.to_bytes(32, "little")
