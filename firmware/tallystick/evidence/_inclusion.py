# Inclusion proofs (RFC 9162, 2.1.3.2): part of proof.py, apart for who checks no others.

# Without tree.py, which holds what grows a tree.

from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Malformed


def check(path: list[bytes] | tuple[bytes, ...], sizes: list[int]) -> None:
    """Malformed unless a path of hashes, and sizes that a tree may have."""
    for size in sizes:
        if type(size) is not int or size >> 63:
            raise Malformed("bad-value", "a proof's sizes and index must be 0 to 2^63-1")
    if type(path) not in (list, tuple):
        raise Malformed("bad-type", "a proof's path must be an array of hashes")
    for node in path:
        _check_hash(node)


def _check_hash(value: bytes) -> None:
    if type(value) is not bytes or len(value) != 32:
        raise Malformed("bad-type", "a tree hash must be 32 bytes")


def root_from_inclusion(
    leaf: bytes, index: int, size: int, path: list[bytes] | tuple[bytes, ...]
) -> bytes:
    """The root that the path leads to (RFC 9162, 2.1.3.2); Malformed on a wrong length."""
    check(path, [index, size])
    _check_hash(leaf)
    if index >= size:
        raise Malformed("bad-inclusion-proof", "the proof's index lies outside its tree")
    root = leaf
    last = size - 1
    used = 0
    while last:
        if index & 1 or index < last:
            if used == len(path):
                raise Malformed("bad-inclusion-proof", "the proof is too short for its tree")
            node = path[used]
            used += 1
            root = sha256(b"\x01" + (node + root if index & 1 else root + node))
        index >>= 1
        last >>= 1
    if used != len(path):
        raise Malformed("bad-inclusion-proof", "the proof is too long for its tree")
    return root
