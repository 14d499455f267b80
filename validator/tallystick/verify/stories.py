"""Comparing what one gateway told several validators (docs/protocol.md, 6.1, 8.6 and 9.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from tallystick.evidence import gatewayhead
from tallystick.evidence.errors import TallyError
from tallystick.evidence.headproofs import TwoStories
from tallystick.evidence.tree import Tree, consistency_from_nodes, fold, node_hash

Nodes = Callable[[int, int], bytes]


class Told(NamedTuple):
    """A signed head, and the gateway's log from `first` to it: edge, and (level, hash) each."""

    head: bytes
    first: int
    edge: list[bytes]
    items: list[tuple[int, bytes]]


def nodes_of(first: int, edge: Sequence[bytes], items: Iterable[Any]) -> Nodes:
    """Reads complete nodes of a log, from its edge at `first` and what comes after; KeyError."""
    known: dict[tuple[int, int], bytes] = {}
    at = 0
    hashes = iter(edge)
    for level in range(first.bit_length() - 1, -1, -1):
        if first >> level & 1:
            known[level, at >> level] = next(hashes)
            at += 1 << level
    for level, node in items:
        known[level, at >> level] = node
        at += 1 << level

    def read(level: int, at: int) -> bytes:
        node = known.get((level, at))
        if node is None:
            if not level:
                raise KeyError(at)
            node = node_hash(read(level - 1, 2 * at), read(level - 1, 2 * at + 1))
            known[level, at] = node
        return node

    return read


def root_at(read: Nodes, size: int) -> bytes:
    """The root of the first `size` entries."""
    edge = []
    at = 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            edge.append(read(level, at >> level))
            at += 1 << level
    return fold(edge)


def inside(read: Nodes, size1: int, size2: int) -> list[Any]:
    """What a proof shows of the larger tree: its root at the smaller size, and the path."""
    return [root_at(read, size1), consistency_from_nodes(read, size1, size2)]


def contradiction(one: Iterable[Told], other: Iterable[Told]) -> TwoStories | None:
    """The first proof that what a gateway told two validators cannot both be true; else None."""
    ours, theirs = list(one), list(other)
    for heads, told in ((ours, theirs), (theirs, ours)):
        by_size = {gatewayhead.parse(row.head).size: row.head for row in heads}
        for row in told:
            found = next(_contradicting(row, by_size), None)
            if found is not None:
                return found
    return None


def _contradicting(row: Told, heads: dict[int, bytes]) -> Iterator[TwoStories]:
    try:
        tree = Tree(row.first, row.edge)
        sizes = [(tree.size, tree.root())]
        for level, node in row.items:
            tree.push_subtree(level, node)
            sizes.append((tree.size, tree.root()))
        head = gatewayhead.parse(row.head)
    except TallyError:
        return
    read = nodes_of(row.first, row.edge, row.items)
    for size, root in sizes:
        known = heads.get(size)
        if not size or known is None or gatewayhead.parse(known).root == root:
            continue
        try:
            path = None if size == head.size else inside(read, size, head.size)
            yield TwoStories(known, row.head, path)
        except (KeyError, TallyError):
            continue
