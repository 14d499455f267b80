# Making proofs (RFC 9162, sections 2.1.3 and 2.1.4): part of tree.py, which loads it on demand.

from tallystick.evidence.errors import Malformed
from tallystick.evidence.tree import SIZE_MAX, Tree, fold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Reader = Callable[[int, int], bytes]


def root_of(leaves: list[bytes]) -> bytes:
    """Root over leaf hashes."""
    tree = Tree()
    tree.extend(leaves)
    return tree.root()


def subtree_root(leaves: list[bytes], begin: int, end: int) -> bytes:
    """Root over leaves[begin:end]."""
    if not 0 <= begin <= end <= len(leaves):
        raise Malformed("bad-value", "the range lies outside the tree")
    return root_of(leaves[begin:end])


def inclusion_path(leaves: list[bytes], index: int, size: int | None = None) -> list[bytes]:
    """Siblings from the leaf up to the root (RFC 9162, 2.1.3.1)."""
    if size is None:
        size = len(leaves)
    if not 0 <= index < size <= len(leaves):
        raise Malformed("bad-value", "the index lies outside the tree")
    return proof_from_nodes(_Nodes(leaves).read, index, size)


def consistency_path(leaves: list[bytes], m: int, n: int | None = None) -> list[bytes]:
    """Shows that the tree of m leaves is a prefix of that of n (RFC 9162, 2.1.4.1)."""
    if n is None:
        n = len(leaves)
    if not 0 <= m <= n <= len(leaves):
        raise Malformed("bad-value", "the sizes lie outside the tree")
    return consistency_from_nodes(_Nodes(leaves).read, m, n)


def prefix_path(leaves: list[bytes], m: int, n: int | None = None) -> list[bytes]:
    """What verify_prefix needs beside the edge at m: the siblings to its right."""
    if n is None:
        n = len(leaves)
    if not 0 <= m <= n <= len(leaves):
        raise Malformed("bad-value", "the sizes lie outside the tree")
    return prefix_from_nodes(_Nodes(leaves).read, m, n)


class _Nodes:
    # The reader of complete nodes over a plain list of leaf hashes.

    def __init__(self, leaves: list[bytes]) -> None:
        self.leaves = leaves

    def read(self, level: int, index: int) -> bytes:
        return root_of(self.leaves[index << level : (index + 1) << level])


def _root_from(read: "Reader", begin: int, size: int) -> bytes:
    # Root of the last, incomplete node: leaves [begin, size), from its perfect subtrees.
    edge = []
    rest = size - begin
    level = 62
    while rest:
        if rest >> level:
            edge.append(read(level, begin >> level))
            begin += 1 << level
            rest -= 1 << level
        level -= 1
    return fold(edge)


def _climb(
    read: "Reader", path: list[bytes], index: int, level: int, size: int, *, rights_only: bool
) -> list[bytes]:
    # Appends the siblings met on the way up from node (level, index).
    last = (size - 1) >> level
    while last:
        sibling = index ^ 1
        if sibling < last:
            if not (rights_only and index & 1):
                path.append(read(level, sibling))
        elif sibling == last:
            path.append(_root_from(read, sibling << level, size))
        index >>= 1
        last >>= 1
        level += 1
    return path


def proof_from_nodes(read: "Reader", index: int, size: int) -> list[bytes]:
    """Inclusion path; `read(level, index)` gives the hash of a complete node."""
    if not 0 <= index < size <= SIZE_MAX:
        raise Malformed("bad-value", "the index lies outside the tree")
    return _climb(read, [], index, 0, size, rights_only=False)


def _last_node(m: int) -> tuple[int, int]:
    # Level and index of the smallest perfect subtree at the right edge of m leaves.
    level = 0
    index = m - 1
    while index & 1:
        index >>= 1
        level += 1
    return level, index


def consistency_from_nodes(read: "Reader", m: int, n: int) -> list[bytes]:
    """Consistency path; `read` as in proof_from_nodes.  Empty when m is 0 or n."""
    if not 0 <= m <= n <= SIZE_MAX:
        raise Malformed("bad-value", "the sizes do not grow")
    if m in (0, n):
        return []
    level, index = _last_node(m)
    # A perfect old tree is its own last node, and the verifier knows its root.
    start = [read(level, index)] if index else []
    return _climb(read, start, index, level, n, rights_only=False)


def prefix_from_nodes(read: "Reader", m: int, n: int) -> list[bytes]:
    """Prefix path; `read` as in proof_from_nodes.  Empty when m is 0 or n."""
    if not 0 <= m <= n <= SIZE_MAX:
        raise Malformed("bad-value", "the sizes do not grow")
    if m in (0, n):
        return []
    level, index = _last_node(m)
    return _climb(read, [], index, level, n, rights_only=True)
