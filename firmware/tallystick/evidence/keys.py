"""Public keys: P-256 and Ed25519 as equals (RFC 9053, 2.1 and 2.2; RFC 9679; RFC 9864)."""

import sys

from tallystick.evidence._text import ID_SIZE, b64u, device_from_text, device_text, from_b64u
from tallystick.evidence.cbor import encode
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Malformed, Unverified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "ALIASES",
    "EDDSA",
    "ES256",
    "ID_SIZE",
    "KID_SIZE",
    "SIGNATURE_SIZE",
    "PublicKey",
    "b64u",
    "check_signature_form",
    "device_from_text",
    "device_text",
    "from_b64u",
    "from_cose_key",
    "from_raw",
    "low_s",
    "pure_verifier",
]

ES256 = -7
EDDSA = -8
# Fully specified names of the same (RFC 9864), accepted and never emitted.
ALIASES = {-7: ES256, -9: ES256, -8: EDDSA, -19: EDDSA}
SIGNATURE_SIZE = 64
KID_SIZE = 8

_MICROPYTHON = sys.implementation.name == "micropython"

_P25519 = 2**255 - 19
_D25519 = 0x52036CEE2B6FFE738CC740797779E89800700A4D4141D8AB75EB4DCA135978A3
# y of the points of order 8, by RFC 8032's curve; order 4 has y = 0, orders 2 and 1 have -1 and 1.
_Y8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
_LOW_Y = (0, 1, _P25519 - 1, _Y8, _P25519 - _Y8)


class PublicKey:
    """A key that was checked: make it with from_raw or from_cose_key."""

    def __init__(self, alg: int, raw: bytes) -> None:
        self.alg = alg
        self.raw = raw
        self._thumbprint: bytes | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and (self.alg, self.raw) == (other.alg, other.raw)

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return "PublicKey(%d, %s)" % (self.alg, b64u(self.raw))

    def cose_key(self) -> dict[int, object]:
        """The required parameters only, so that equal keys are equal maps."""
        if self.alg == EDDSA:
            return {1: 1, -1: 6, -2: self.raw}
        return {1: 2, -1: 1, -2: self.raw[:32], -3: self.raw[32:]}

    def thumbprint(self) -> bytes:
        """32 bytes (RFC 9679, section 4)."""
        if self._thumbprint is None:
            self._thumbprint = sha256(encode(self.cose_key()))
        return self._thumbprint

    def kid(self) -> bytes:
        """8 bytes, a hint for finding the key."""
        return self.thumbprint()[:KID_SIZE]

    def verify(self, signature: bytes, message: bytes) -> None:
        """Unverified("bad-signature") unless this key signed these bytes."""
        check_signature_form(self.alg, signature)
        if not _MICROPYTHON:
            from tallystick.evidence import _libraries  # noqa: PLC0415  # not on a device

            _libraries.verify(self.alg, self.raw, signature, message)
            return
        steps = self.verifier(signature, message)
        while not steps.step():
            pass

    def verifier(self, signature: bytes, message: bytes) -> "Any":
        """An object whose step() does a bounded piece of verify(); True when it was good."""
        check_signature_form(self.alg, signature)
        if not _MICROPYTHON:
            from tallystick.evidence import _libraries  # noqa: PLC0415  # not on a device

            return _libraries.AtOnce(self, signature, message)
        return pure_verifier(self.alg, self.raw, signature, message)


def pure_verifier(alg: int, raw: bytes, signature: bytes, message: bytes) -> "Any":
    """Verification without a library; its code is loaded when it is first used."""
    from tallystick.evidence.steps import Steps  # noqa: PLC0415  # costs heap

    if alg == EDDSA:
        from tallystick.evidence._ed25519 import verify  # noqa: PLC0415  # costs heap
    else:
        from tallystick.evidence._p256 import verify  # noqa: PLC0415  # costs heap
    return Steps(verify(raw, signature, message))


def check_signature_form(alg: int, signature: bytes) -> None:
    """Unverified unless it is 64 bytes, and in P-256 in range and with low s."""
    # What libraries take and we do not; they themselves refuse an Ed25519 S of another form.
    if alg != EDDSA:
        from tallystick.evidence._p256form import check_signature  # noqa: PLC0415  # costs heap

        check_signature(signature)
    elif type(signature) is not bytes or len(signature) != SIGNATURE_SIZE:
        raise Unverified("bad-signature", "a signature must be 64 bytes, R || S")


def low_s(signature: bytes) -> bytes:
    """The P-256 signature with the lower of s and n-s: what a chip's driver must emit."""
    from tallystick.evidence._p256form import low_s as lower  # noqa: PLC0415  # costs heap

    return lower(signature)


def from_raw(alg: int, raw: bytes) -> PublicKey:
    """32 bytes of Ed25519 (RFC 8032) or 64 bytes X || Y of P-256; refuses what is no safe key."""
    alg = ALIASES.get(alg, 0)
    if type(raw) is not bytes or len(raw) != {ES256: 64, EDDSA: 32}.get(alg, -1):
        raise Malformed("bad-key", "a key must be 32 bytes of Ed25519 or 64 bytes of P-256")
    if alg == EDDSA:
        _check_ed25519(raw)
    else:
        from tallystick.evidence._p256form import check_point  # noqa: PLC0415  # costs heap

        check_point(raw)
    return PublicKey(alg, raw)


def _check_ed25519(raw: bytes) -> None:
    # Libraries take low-order and non-canonical keys; the identity point verifies every message.
    p = _P25519
    y = int.from_bytes(raw, "little") & ((1 << 255) - 1)
    if y % p in _LOW_Y:
        raise Malformed("weak-key", "an Ed25519 key is of low order")
    if y >= p:
        raise Malformed("bad-key", "an Ed25519 key is not canonically encoded")
    # x^2 = (y^2 - 1) / (d y^2 + 1) must be a square (RFC 8032, 5.1.3); Euler's criterion.
    yy = y * y
    if pow((yy - 1) * (_D25519 * yy + 1) % p, p >> 1, p) != 1:
        raise Malformed("bad-key", "an Ed25519 key is no point of the curve")


def from_cose_key(value: "Any") -> PublicKey:
    """From a COSE_Key map with exactly the required parameters (RFC 9053, section 7)."""
    if type(value) is dict:
        kty, crv, x, y = value.get(1), value.get(-1), value.get(-2), value.get(-3)
        # Not by equality alone: true equals 1 in Python.
        if type(kty) is int and type(crv) is int and type(x) is bytes:
            if (kty, crv, len(value)) == (1, 6, 3):
                return from_raw(EDDSA, x)
            if (kty, crv, len(value)) == (2, 1, 4) and type(y) is bytes and len(x) == len(y) == 32:
                return from_raw(ES256, x + y)
    raise Malformed("bad-key", "not a COSE key of P-256 or Ed25519 with its required parameters")
