# CPython only
"""Software keys by PyNaCl and cryptography; on CPython only."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from nacl import pwhash, secret
from nacl import utils as random
from nacl.exceptions import CryptoError
from nacl.signing import SigningKey

from tallystick.evidence.errors import KeyDriverError
from tallystick.evidence.keys import EDDSA, ES256, low_s
from tallystick.hw.secret import from_environment

if TYPE_CHECKING:
    from tallystick.hw.signer import Secrets

# argon2id: a guess costs an attacker 64 MiB; a robot opens its key once.
OPERATIONS = pwhash.argon2id.OPSLIMIT_INTERACTIVE
MEMORY_BYTES = pwhash.argon2id.MEMLIMIT_INTERACTIVE
# What a file may demand: a foreign file must not take all memory.
OPERATIONS_MAX = 16
MEMORY_BYTES_MAX = 1 << 28
# From here on (a gateway's batches) OpenSSL's SHA-512 is worth more than libsodium's quick start.
# Both are RFC 8032's signature, bit for bit.
LONG_BYTES_MIN = 1 << 15


def new_secret(alg: int) -> bytes:
    """32 bytes: an Ed25519 seed (RFC 8032) or a P-256 scalar, big-endian."""
    if alg == EDDSA:
        return bytes(random.random(32))
    if alg != ES256:
        raise KeyDriverError("no-such-key", "a key is of algorithm -7 (ES256) or -8 (EdDSA)")
    return (
        ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value.to_bytes(32, "big")
    )


def _p256(scalar: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        return ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())
    except ValueError:
        raise KeyDriverError("corrupt-key", "the secret is no P-256 scalar") from None


def public_raw(alg: int, secret: bytes) -> bytes:
    """32 or 64 bytes, as keys.from_raw takes them."""
    if alg == EDDSA:
        return bytes(SigningKey(secret).verify_key)
    if alg != ES256:
        raise KeyDriverError("corrupt-key", "the key's algorithm is neither -7 nor -8")
    numbers = _p256(secret).public_key().public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def signing(alg: int, secret: bytes) -> Callable[[bytes], bytes]:
    """A function from message to signature, 64 bytes with low s; the key is loaded once."""
    if alg == EDDSA:
        return _ed25519(secret)
    scalar = _p256(secret)
    algorithm = ec.ECDSA(SHA256())

    def sign(message: bytes) -> bytes:
        r, s = utils.decode_dss_signature(scalar.sign(message, algorithm))
        return low_s(r.to_bytes(32, "big") + s.to_bytes(32, "big"))

    return sign


def _ed25519(secret: bytes) -> Callable[[bytes], bytes]:
    short, long = SigningKey(secret), Ed25519PrivateKey.from_private_bytes(secret)

    def sign(message: bytes) -> bytes:
        if len(message) < LONG_BYTES_MIN:
            return bytes(short.sign(message).signature)
        return long.sign(message)

    return sign


def _box(passphrase: str, salt: bytes, operations: int, memory: int) -> secret.SecretBox:
    key = pwhash.argon2id.kdf(
        secret.SecretBox.KEY_SIZE, passphrase.encode(), salt, opslimit=operations, memlimit=memory
    )
    return secret.SecretBox(key)


def seal(plain: bytes, passphrase: str) -> list[object]:
    """[salt, operations, memory in bytes, box]."""
    salt = random.random(pwhash.argon2id.SALTBYTES)
    box = _box(passphrase, salt, OPERATIONS, MEMORY_BYTES)
    return [bytes(salt), OPERATIONS, MEMORY_BYTES, bytes(box.encrypt(plain))]


def passphrase(secrets: "Secrets | None", path: str) -> str:
    """From the caller, else from TALLY_PIN, as a robot that starts alone has it."""
    found = secrets(path) if secrets else None
    if not found:
        found = from_environment()
    if not found:
        raise KeyDriverError(
            "no-passphrase", path + ": is sealed; its passphrase is needed, or TALLY_PIN"
        )
    return found


def unseal(sealed: list[Any], passphrase: str, path: str) -> bytes:
    """The 32 bytes; KeyDriverError when the passphrase is wrong."""
    if [type(part) for part in sealed] != [bytes, int, int, bytes]:
        raise KeyDriverError("corrupt-key", path + ": is sealed in an unknown way")
    salt, operations, memory, box = sealed
    if (
        len(salt) != pwhash.argon2id.SALTBYTES
        or not pwhash.argon2id.OPSLIMIT_MIN <= operations <= OPERATIONS_MAX
        or not pwhash.argon2id.MEMLIMIT_MIN <= memory <= MEMORY_BYTES_MAX
    ):
        raise KeyDriverError("corrupt-key", path + ": is sealed with limits out of range")
    try:
        plain = bytes(_box(passphrase, salt, operations, memory).decrypt(box))
    except (CryptoError, ValueError, TypeError):
        plain = b""
    if len(plain) != 32:
        raise KeyDriverError("wrong-passphrase", path + ": the passphrase does not open it")
    return plain


def write_private(part: str, path: str, data: bytes) -> None:
    """Durable, mode 0600 from the first byte, and never over another file."""
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(part, path)  # refuses where rename would overwrite
    finally:
        os.unlink(part)
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
