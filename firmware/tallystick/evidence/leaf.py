"""Salted leaves: SHA-256(0x00 || salt || record)."""

# Without a salt a leaf hash of a guessable record gives the record away.  Two salts come of one
# hash, so that a record costs two and a half hashes: salt, leaf, node.

from hashlib import sha256 as _sha256

SEED_SIZE = 32
SALT_SIZE = 16


def salt(seed: bytes, index: int) -> bytes:
    """16 bytes: half of SHA-256(seed || index >> 1 as 8 bytes big-endian)."""
    pair = _sha256(seed + (index >> 1).to_bytes(8, "big")).digest()
    return pair[16:] if index & 1 else pair[:16]


def leaf(salt: bytes, record: bytes) -> bytes:
    """The leaf hash of one record."""
    return _sha256(b"\x00" + salt + record).digest()


def leaves(seed: bytes, first: int, records: list[bytes]) -> list[bytes]:
    """Leaf hashes of consecutive records, the first at index `first`."""
    sha = _sha256
    out = []
    index = first
    pair = b""
    for record in records:
        if index & 1:
            if not pair:
                pair = sha(seed + (index >> 1).to_bytes(8, "big")).digest()
            half = pair[16:]
        else:
            pair = sha(seed + (index >> 1).to_bytes(8, "big")).digest()
            half = pair[:16]
        out.append(sha(b"\x00" + half + record).digest())
        index += 1
    return out
