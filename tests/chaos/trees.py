"""Merkle trees as RFC 9162 writes them, by themselves: 2.1.1 and 2.1.3.2."""

import hashlib
from collections.abc import Iterable


def node(left: bytes, right: bytes) -> bytes:
    """Two children's parent."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def leaf(data: bytes) -> bytes:
    """Of an entry without salt."""
    return hashlib.sha256(b"\x00" + data).digest()


class Frontier:
    """The perfect subtrees of a tree that grows, largest first."""

    def __init__(self, size: int = 0, edge: Iterable[bytes] = ()) -> None:
        self.size = size
        levels = [level for level in range(size.bit_length()) if size >> level & 1]
        self._subtrees = list(zip(reversed(levels), edge, strict=True))

    def push(self, level: int, found: bytes) -> None:
        """Another perfect subtree, where one of this level may stand."""
        if self.size % (1 << level):
            message = f"a subtree of level {level} at {self.size}"
            raise ValueError(message)
        self.size += 1 << level
        while self._subtrees and self._subtrees[-1][0] == level:
            found = node(self._subtrees.pop()[1], found)
            level += 1
        self._subtrees.append((level, found))

    def root(self) -> bytes:
        """Of what was pushed; there must be something."""
        found = self._subtrees[-1][1]
        for _, left in reversed(self._subtrees[:-1]):
            found = node(left, found)
        return found


class Tree:
    """All leaves, and the root at any size."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.size = len(leaves)
        self._levels = [leaves]
        while len(self._levels[-1]) > 1:
            below = self._levels[-1]
            pairs = range(0, len(below) - 1, 2)
            self._levels.append([node(below[at], below[at + 1]) for at in pairs])

    def root(self, size: int) -> bytes:
        """Of the first `size` leaves, at least one."""
        at, edge = 0, []
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                edge.append(self._levels[level][at >> level])
                at += 1 << level
        return Frontier(size, edge).root()


def root_by_path(found: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """What an inclusion path makes of a leaf."""
    at, last = index, size - 1
    for other in path:
        if at & 1 or at == last:
            found = node(other, found)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            found = node(found, other)
        at >>= 1
        last >>= 1
    return found
