# CPython only
"""Commands SHA and SelfTest."""

import hashlib
import os

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tallystick.hw.virtual_atecc608.core import Core
from tallystick.hw.virtual_atecc608.status import PARSE, need

START, UPDATE, END = 0, 1, 2
BLOCK_BYTES = 64
RNG, ECDSA, ECDH, AES, HASH = 0x01, 0x02, 0x08, 0x10, 0x20
# FIPS 197, appendix C.1; FIPS 180-4, "abc".
_AES_KEY = bytes(range(16))
_AES_PLAIN = bytes.fromhex("00112233445566778899aabbccddeeff")
_AES_SECRET = bytes.fromhex("69c4e0d86a7b0430d8cdb78070b4c55a")
_ABC = bytes.fromhex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")


def sha(core: Core, mode: int, length: int, data: bytes) -> bytes:
    """SHA-256 in steps: start, blocks of 64 bytes, an end of 0 to 63 bytes."""
    registers = core.registers
    target = mode >> 6
    need(mode & 0x3F in (START, UPDATE, END) and length == len(data), PARSE)
    if mode == START:
        need(not data, PARSE)
        registers.sha = hashlib.sha256()
        return b"\x00"
    if mode == UPDATE:
        need(len(data) == BLOCK_BYTES, PARSE)
        need(registers.sha is not None)
        registers.sha.update(data)
        return b"\x00"
    need(mode & 0x3F == END and target != 2 and len(data) < BLOCK_BYTES, PARSE)
    need(registers.sha is not None)
    registers.sha.update(data)
    digest: bytes = registers.sha.digest()
    registers.sha = None
    if target == 0:
        registers.load_temp_key(digest, random=False)
    elif target == 1:
        registers.digest_buffer = digest
    return digest


def self_test(core: Core, mode: int, parameter: int, data: bytes) -> bytes:
    """Run the tests of `mode`; the bits of those that failed."""
    need(mode != 0 and not mode & ~0x3B and not parameter and not data, PARSE)
    failed = core.failing_tests & mode
    for bit, works in _TESTS:
        if mode & bit and not works():
            failed |= bit
    return bytes((failed,))


def _draws() -> bool:
    return os.urandom(32) != os.urandom(32)


def _signs() -> bool:
    key = ec.generate_private_key(ec.SECP256R1())
    how = ec.ECDSA(hashes.SHA256())
    key.public_key().verify(key.sign(b"self-test", how), b"self-test", how)
    return True


def _agrees() -> bool:
    one, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    shared = one.exchange(ec.ECDH(), other.public_key())
    return shared == other.exchange(ec.ECDH(), one.public_key())


def _encrypts() -> bool:
    # One block of a published example: the mode has no part in it.
    cipher = Cipher(algorithms.AES(_AES_KEY), modes.ECB())  # noqa: S305
    return cipher.encryptor().update(_AES_PLAIN) == _AES_SECRET


def _hashes() -> bool:
    return hashlib.sha256(b"abc").digest() == _ABC


_TESTS = ((RNG, _draws), (ECDSA, _signs), (ECDH, _agrees), (AES, _encrypts), (HASH, _hashes))
