"""Salted leaves (docs/protocol.md, section 2.2)."""

from binascii import hexlify
from hashlib import sha256

from tallystick.evidence import leaf


def test_two_salts_come_of_one_hash() -> None:
    seed = bytes(range(32))
    for index in (0, 1, 2, 3, 2**32, 2**32 + 1, 2**63 - 1):
        pair = sha256(seed + (index >> 1).to_bytes(8, "big")).digest()
        assert leaf.salt(seed, index) == (pair[16:] if index & 1 else pair[:16])


def test_a_known_leaf() -> None:
    salt = leaf.salt(b"\x00" * 32, 0)
    assert hexlify(salt) == b"2c34ce1df23b838c5abf2a7f6437cca3"
    assert leaf.leaf(salt, b"\x80") == sha256(b"\x00" + salt + b"\x80").digest()


def test_many_at_once_are_those_one_by_one() -> None:
    seed = b"s" * 32
    records = [bytes([n]) * n for n in range(9)]
    for first in (0, 1, 6, 7):
        assert leaf.leaves(seed, first, records) == [
            leaf.leaf(leaf.salt(seed, first + n), record) for n, record in enumerate(records)
        ]
    assert leaf.leaves(seed, 3, []) == []
