"""A growing Merkle tree and its proofs (RFC 9162, section 2.1)."""

# A tree of any size is kept as its edge: the roots of the perfect subtrees that it splits into,
# largest first, one for each bit that is set in the size.

from hashlib import sha256 as _sha256

from tallystick.evidence.digest import begun
from tallystick.evidence.errors import Malformed

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Reader = Callable[[int, int], bytes]

EMPTY_ROOT = _sha256(b"").digest()
SIZE_MAX = 2**63 - 1

_node_state = begun(b"\x01")


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 || data)."""
    return _sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return _sha256(b"\x01" + left + right).digest()


def _parents(nodes: list[bytes]) -> list[bytes]:
    # One level up; the number of nodes is even.
    out = []
    pairs = iter(nodes)
    for left in pairs:
        state = _node_state()
        state.update(left + next(pairs))
        out.append(state.digest())
    return out


def check_hash(value: bytes) -> None:
    """Malformed unless 32 bytes."""
    if type(value) is not bytes or len(value) != 32:
        raise Malformed("bad-type", "a tree hash must be 32 bytes")


def edge_length(size: int) -> int:
    """Number of perfect subtrees in a tree of `size` leaves."""
    count = 0
    while size:
        count += size & 1
        size >>= 1
    return count


def fold(edge: list[bytes] | tuple[bytes, ...]) -> bytes:
    """The root of the tree with this edge."""
    at = len(edge) - 1
    if at < 0:
        return EMPTY_ROOT
    root = edge[at]
    while at:
        at -= 1
        root = node_hash(edge[at], root)
    return root


class Tree:
    """Right edge of a tree that only grows; about two hashes of work a leaf."""

    def __init__(self, size: int = 0, edge: list[bytes] | tuple[bytes, ...] = ()) -> None:
        if type(size) is not int or not 0 <= size <= SIZE_MAX:
            raise Malformed("bad-value", "a tree size must be 0 to 2^63-1")
        if len(edge) != edge_length(size):
            raise Malformed("bad-edge", "the edge does not have one hash for each bit of the size")
        for node in edge:
            check_hash(node)
        self.size = size
        self.edge = list(edge)

    def push(self, leaf: bytes) -> None:
        """Append one leaf hash."""
        if len(leaf) != 32:
            check_hash(leaf)
        edge = self.edge
        at = len(edge)
        rest = self.size
        while rest & 1:
            at -= 1
            leaf = _sha256(b"\x01" + edge[at] + leaf).digest()
            rest >>= 1
        # Changed only now: an error above leaves the tree as it was.
        edge[at:] = [leaf]
        self.size += 1

    def push_subtree(self, level: int, node: bytes) -> None:
        """Append the root of 2**level leaves; the size must be a multiple of that."""
        check_hash(node)
        if type(level) is not int or not 0 <= level < 63 or self.size & ((1 << level) - 1):
            raise Malformed("misaligned-subtree", "a subtree does not start at its own boundary")
        edge = self.edge
        at = len(edge)
        rest = self.size >> level
        while rest & 1:
            at -= 1
            node = node_hash(edge[at], node)
            rest >>= 1
        edge[at:] = [node]
        self.size += 1 << level

    def extend(self, leaves: list[bytes]) -> None:
        """Append many leaf hashes, level by level: less interpreter time a leaf than push()."""
        nodes = list(leaves)
        for node in nodes:
            if len(node) != 32:
                check_hash(node)
        edge = self.edge
        at = len(edge)
        rest = self.size
        left_over = []
        while nodes:
            if rest & 1:
                at -= 1
                nodes.insert(0, edge[at])
            if len(nodes) & 1:
                left_over.append(nodes.pop())
            nodes = _parents(nodes)
            rest >>= 1
        left_over.reverse()
        edge[at:] = left_over
        self.size += len(leaves)

    def root(self) -> bytes:
        """Root of all leaves so far."""
        return fold(self.edge)

    def copy(self) -> "Tree":
        """An independent tree with the same leaves."""
        twin = Tree()
        twin.size = self.size
        twin.edge = self.edge[:]
        return twin


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
