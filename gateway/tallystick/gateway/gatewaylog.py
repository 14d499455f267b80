"""The gateway's own Merkle log in the store: complete nodes only, so a proof is a few reads."""

import sqlite3
from collections.abc import Iterator

from tallystick.evidence.tree import Tree, node_hash


class GatewayLog:
    """The growing end: `append` collects, `flush` writes inside the worker's transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._nodes: list[tuple[int, int, bytes]] = []
        (size,) = connection.execute("SELECT coalesce(max(at) + 1, 0) FROM segments").fetchone()
        self.tree = tree_at(connection, size)

    def append(self, leaf: bytes) -> int:
        """Add one leaf hash; its index. Nothing is written yet."""
        at = self.tree.size
        level, node, index = 0, leaf, at
        edge = len(self.tree.edge)
        self._nodes.append((0, at, leaf))
        while index & 1:
            edge -= 1
            node = node_hash(self.tree.edge[edge], node)
            level += 1
            index >>= 1
            self._nodes.append((level, index, node))
        self.tree.edge[edge:] = [node]
        self.tree.size += 1
        return at

    def flush(self, connection: sqlite3.Connection) -> None:
        """Write the nodes that were collected."""
        if self._nodes:
            connection.executemany("INSERT INTO nodes VALUES (?, ?, ?)", self._nodes)
            self._nodes = []


def read_node(connection: sqlite3.Connection, level: int, at: int) -> bytes:
    """The hash of one complete node; KeyError when it is not complete."""
    row = connection.execute(
        "SELECT hash FROM nodes WHERE level = ? AND at = ?", (level, at)
    ).fetchone()
    if row is None:
        raise KeyError((level, at))
    return bytes(row[0])


def tree_at(connection: sqlite3.Connection, size: int) -> Tree:
    """The log's tree as it was at `size`."""
    edge = []
    begin = 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            edge.append(read_node(connection, level, begin >> level))
            begin += 1 << level
    return Tree(size, edge)


def subtrees(connection: sqlite3.Connection, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
    """(level, hash) of the widest complete subtrees that fill the places from begin to end.

    Made of their children's hashes, so a node that was damaged gives another root than the log's.
    """
    while begin < end:
        level = (end - begin).bit_length() - 1
        if begin:
            level = min(level, (begin & -begin).bit_length() - 1)
        at = begin >> level
        if level:
            left, right = (read_node(connection, level - 1, 2 * at + i) for i in (0, 1))
            yield level, node_hash(left, right)
        else:
            yield 0, read_node(connection, 0, at)
        begin += 1 << level
