"""Checking inclusion, consistency and prefix proofs (RFC 9162, section 2.1)."""

from tallystick.evidence import _inclusion
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.tree import EMPTY_ROOT, check_hash, edge_length, fold, node_hash

root_from_inclusion = _inclusion.root_from_inclusion
_check = _inclusion.check


def verify_inclusion(
    leaf: bytes, index: int, size: int, path: list[bytes] | tuple[bytes, ...], root: bytes
) -> None:
    """Unverified unless the leaf is at `index` in the tree of `size` leaves with this root."""
    check_hash(root)
    if root_from_inclusion(leaf, index, size, path) != root:
        raise Unverified("bad-inclusion-proof", "the leaf is not in the tree with this root")


def verify_consistency(
    size1: int, root1: bytes, size2: int, root2: bytes, path: list[bytes] | tuple[bytes, ...]
) -> None:
    """Unverified unless the second tree extends the first (RFC 9162, 2.1.4.2)."""
    _check(path, [size1, size2])
    check_hash(root1)
    check_hash(root2)
    if size1 > size2:
        raise Malformed("bad-consistency-proof", "the proof's second tree is the smaller one")
    if size1 in (0, size2):
        # Nothing to prove: the empty tree is a prefix of all, and a tree is one of itself.
        if path:
            raise Malformed("bad-consistency-proof", "the proof is too long for its trees")
        if root1 != (root2 if size1 else EMPTY_ROOT) or (size2 == 0 and root2 != EMPTY_ROOT):
            raise Unverified("bad-consistency-proof", "the trees have other roots")
        return
    index = size1 - 1
    last = size2 - 1
    while index & 1:
        index >>= 1
        last >>= 1
    used = 0
    old = root1
    if index:
        if not path:
            raise Malformed("bad-consistency-proof", "the proof is too short for its trees")
        old = path[0]
        used = 1
    new = old
    while last:
        if index & 1 or index < last:
            if used == len(path):
                raise Malformed("bad-consistency-proof", "the proof is too short for its trees")
            node = path[used]
            used += 1
            if index & 1:
                old = node_hash(node, old)
                new = node_hash(node, new)
            else:
                new = node_hash(new, node)
        index >>= 1
        last >>= 1
    if used != len(path):
        raise Malformed("bad-consistency-proof", "the proof is too long for its trees")
    if old != root1 or new != root2:
        raise Unverified("bad-consistency-proof", "the second tree does not extend the first")


def verify_prefix(
    edge: list[bytes] | tuple[bytes, ...],
    m: int,
    n: int,
    root_n: bytes,
    path: list[bytes] | tuple[bytes, ...],
) -> None:
    """Unverified unless `edge` is that of the first m leaves of the tree with n and this root."""
    # The right-hand siblings of a consistency proof are enough: the edge has the left-hand ones.
    _check(path, [m, n])
    _check(edge, [])
    check_hash(root_n)
    if m > n or len(edge) != edge_length(m):
        raise Malformed("bad-edge", "the edge does not fit the sizes")
    if m in (0, n):
        if path:
            raise Malformed("bad-consistency-proof", "the proof is too long for its trees")
        if n == m and fold(edge) != root_n:
            raise Unverified("bad-consistency-proof", "the edge has another root")
        return
    index = m - 1
    last = n - 1
    while index & 1:
        index >>= 1
        last >>= 1
    left = len(edge) - 1
    root = edge[left]
    used = 0
    while last:
        if index & 1:
            left -= 1
            root = node_hash(edge[left], root)
        elif index < last:
            if used == len(path):
                raise Malformed("bad-consistency-proof", "the proof is too short for its trees")
            root = node_hash(root, path[used])
            used += 1
        index >>= 1
        last >>= 1
    if used != len(path):
        raise Malformed("bad-consistency-proof", "the proof is too long for its trees")
    if root != root_n:
        raise Unverified(
            "bad-consistency-proof", "the edge is not a prefix of the tree with this root"
        )
