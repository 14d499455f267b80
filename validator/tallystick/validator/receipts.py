"""Reading the log: nodes, published checkpoints, and the receipts that follow from them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence import receipt
from tallystick.evidence.errors import CouldNotCheck
from tallystick.evidence.tree import consistency_from_nodes, proof_from_nodes
from tallystick.validator import schema
from tallystick.validator.rows import Prepared

Reader = Callable[[int, int], bytes]


@dataclass(frozen=True)
class Head:
    """A published checkpoint."""

    size: int
    root: bytes
    note: str
    signed: receipt.SignedRoot
    time_ms: int


def read_node(connection: Connection, level: int, at: int) -> bytes:
    """One complete node of the log."""
    if level == 0:
        found = _LEAF.rows(connection, at=at)
    else:
        found = _NODE.rows(connection, level=level, at=at)
    for (node,) in found:
        return bytes(node)
    raise CouldNotCheck("bad-root", f"the store lacks node {at} of level {level} of its log")


# A path has as many of them as the log's size has bits.
_LEAF = Prepared(
    sa.select(schema.entries.c.leaf).where(schema.entries.c.entry == sa.bindparam("at"))
)
_NODE = Prepared(
    sa.select(schema.nodes.c.hash).where(
        schema.nodes.c.level == sa.bindparam("level"), schema.nodes.c.at == sa.bindparam("at")
    )
)


def node_reader(connection: Connection) -> Reader:
    """A reader with a cache of its own, for threads other than the sequencer's."""
    seen: dict[tuple[int, int], bytes] = {}

    def read(level: int, at: int) -> bytes:
        node = seen.get((level, at))
        if node is None:
            node = seen[level, at] = read_node(connection, level, at)
        return node

    return read


def edge_of(read: Reader, size: int) -> list[bytes]:
    """The edge of the log at a size."""
    edge = []
    begin = 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            edge.append(read(level, begin >> level))
            begin += 1 << level
    return edge


def _head(row: "sa.Row[tuple[object, ...]]") -> Head:
    return Head(
        row.size, row.root, row.note, receipt.SignedRoot(row.protected, row.signature), row.time_ms
    )


def newest_head(connection: Connection) -> Head | None:
    """The newest published checkpoint."""
    row = connection.execute(
        sa.select(schema.heads).order_by(schema.heads.c.size.desc()).limit(1)
    ).one_or_none()
    return None if row is None else _head(row)


def head_over(connection: Connection, index: int) -> Head | None:
    """The first published checkpoint that covers an entry."""
    rows = _OVER.found(connection, index=index)
    return _head(rows[0]) if rows else None


_OVER = Prepared(
    sa.select(schema.heads)
    .where(schema.heads.c.size > sa.bindparam("index"))
    .order_by(schema.heads.c.size)
    .limit(sa.literal_column("1"))
)


def build_receipts(
    connection: Connection,
    indexes: Iterable[int],
    read: Reader,
    head: Head | None = None,
) -> dict[int, bytes]:
    """The receipt of each entry: at `head`, else at the first published size above it."""
    made: dict[int, bytes] = {}
    current: Head | None = None
    below = 0
    for index in sorted(set(indexes)):
        if head is not None:
            current = head
        elif current is None or not below <= index < current.size:
            current, below = head_over(connection, index), index
        if current is not None and index < current.size:
            path = proof_from_nodes(read, index, current.size)
            made[index] = current.signed.inclusion(current.size, index, path)
    return made


def consistency(connection: Connection, size1: int, size2: int, read: Reader) -> bytes | None:
    """The receipt that published size 2 extends size 1; None where size 2 was not published."""
    row = connection.execute(
        sa.select(schema.heads).where(schema.heads.c.size == size2)
    ).one_or_none()
    if row is None:
        return None
    return _head(row).signed.consistency(size1, size2, consistency_from_nodes(read, size1, size2))
