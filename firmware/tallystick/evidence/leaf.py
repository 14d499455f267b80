"""Salted leaves: SHA-256(0x00 || salt || record)."""

# Without a salt a leaf hash of a guessable record gives the record away.  Two salts come of one
# hash, so that a record costs two and a half hashes: salt, leaf, node.

from hashlib import sha256 as _sha256

from tallystick.evidence.digest import begun

SEED_SIZE = 32
SALT_SIZE = 16

_leaf_state = begun(b"\x00")


def salt(seed: bytes, index: int) -> bytes:
    """16 bytes: half of SHA-256(seed || index >> 1 as 8 bytes big-endian)."""
    pair = _sha256(seed + (index >> 1).to_bytes(8, "big")).digest()
    return pair[16:] if index & 1 else pair[:16]


def leaf(salt: bytes, record: bytes) -> bytes:
    """The leaf hash of one record."""
    return _sha256(b"\x00" + salt + record).digest()


def leaves(seed: bytes, first: int, records: list[bytes]) -> list[bytes]:
    """Leaf hashes of consecutive records, the first at index `first`."""
    # The gateway's hottest loop: two records a turn, since they share a hash for their salts.
    out = []
    rest = iter(records)
    if first & 1:
        for record in rest:
            out.append(leaf(salt(seed, first), record))
            break
        first += 1
    seed_state = begun(seed)
    pair_index = first >> 1
    for even in rest:
        state = seed_state()
        state.update(pair_index.to_bytes(8, "big"))
        pair = state.digest()
        pair_index += 1
        state = _leaf_state()
        state.update(pair[:16] + even)
        out.append(state.digest())
        for odd in rest:
            state = _leaf_state()
            state.update(pair[16:] + odd)
            out.append(state.digest())
            break
    return out
