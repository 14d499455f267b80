"""A growing Merkle tree and its proofs (RFC 9162, section 2.1)."""

# A tree of any size is kept as its edge: the roots of the perfect subtrees that it splits into,
# largest first, one for each bit that is set in the size.

from hashlib import sha256 as _sha256

from tallystick.evidence.digest import begun
from tallystick.evidence.errors import Malformed

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.evidence import _paths

    root_of = _paths.root_of
    subtree_root = _paths.subtree_root
    inclusion_path = _paths.inclusion_path
    consistency_path = _paths.consistency_path
    prefix_path = _paths.prefix_path
    proof_from_nodes = _paths.proof_from_nodes
    consistency_from_nodes = _paths.consistency_from_nodes
    prefix_from_nodes = _paths.prefix_from_nodes

_PATHS = (
    "root_of",
    "subtree_root",
    "inclusion_path",
    "consistency_path",
    "prefix_path",
    "proof_from_nodes",
    "consistency_from_nodes",
    "prefix_from_nodes",
)

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


def __getattr__(name: str) -> "Any":
    # A device that only grows its tree does not load what makes proofs.
    if name in _PATHS:
        from tallystick.evidence import _paths  # noqa: PLC0415  # see above

        return getattr(_paths, name)
    raise AttributeError(name)
