# CPython only
"""Verification by PyNaCl and cryptography; on CPython only."""

from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from tallystick.evidence import vouched
from tallystick.evidence.errors import Unverified
from tallystick.evidence.keys import EDDSA, PublicKey

# Loading a P-256 key costs as much as half a verification, and one device signs many times.
LOADED_KEYS_MAX = 1024
# From here on (a gateway's batches) OpenSSL's SHA-512 is worth more than libsodium's quick start.
LONG_BYTES_MIN = 1 << 15
_P = 2**255 - 19
# y of the points of low order, as in keys.py.
_Y8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
_LOW_Y = (0, 1, _P - 1, _Y8, _P - _Y8)
_ECDSA = ec.ECDSA(SHA256())


@lru_cache(maxsize=LOADED_KEYS_MAX)
def _load_p256(raw: bytes) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + raw)


@lru_cache(maxsize=LOADED_KEYS_MAX)
def _load_ed25519(raw: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(raw)


def _verify_long(raw: bytes, signature: bytes, message: bytes) -> None:
    # An R of low order is what libsodium refuses and OpenSSL takes. Of keys both see only what
    # from_raw lets pass.
    if int.from_bytes(signature[:32], "little") & ((1 << 255) - 1) in _LOW_Y:
        raise InvalidSignature
    _load_ed25519(raw).verify(signature, message)


def verify(alg: int, raw: bytes, signature: bytes, message: bytes) -> None:
    """`signature` has passed the form checks of keys.py, `raw` those of from_raw."""
    if vouched.is_known(alg, raw, signature, message):
        return
    try:
        if alg == EDDSA and len(message) >= LONG_BYTES_MIN:
            _verify_long(raw, signature, message)
        elif alg == EDDSA:
            crypto_sign_open(signature + message, raw)
        else:
            r = int.from_bytes(signature[:32], "big")
            s = int.from_bytes(signature[32:], "big")
            _load_p256(raw).verify(utils.encode_dss_signature(r, s), message, _ECDSA)
    except (BadSignatureError, InvalidSignature):
        raise Unverified(
            "bad-signature", "the signature is not by this key over these bytes"
        ) from None


class AtOnce:
    """Where a library verifies in microseconds there is nothing to cut."""

    def __init__(self, key: PublicKey, signature: bytes, message: bytes) -> None:
        self._work: tuple[PublicKey, bytes, bytes] | None = (key, signature, message)

    def step(self) -> bool:
        """True; raises Unverified when the signature is wrong."""
        if self._work:
            key, signature, message = self._work
            key.verify(signature, message)
            self._work = None
        return True
