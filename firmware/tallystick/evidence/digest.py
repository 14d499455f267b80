"""SHA-256 (FIPS 180-4), the only hash of the format."""

import hashlib

SHA256_SIZE = 32


def sha256(data: bytes) -> bytes:
    """32 bytes."""
    return hashlib.sha256(data).digest()
