"""What validators ask one another (docs/protocol.md, 8.2): newest heads, paths, fork proofs."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence import keychange
from tallystick.evidence.keys import b64u, device_text
from tallystick.evidence.kinds import KEY_CHANGE
from tallystick.evidence.tree import Tree, consistency_from_nodes, node_hash
from tallystick.validator import answers, schema
from tallystick.validator.devicelog import NodeReader, held_over, split
from tallystick.validator.forks import portable
from tallystick.validator.limits import FORKS_ANSWERED_MAX
from tallystick.validator.queries import missing, published

Found = Any  # a row of a query


class StoredNodes:
    """Complete nodes of a device's log, from the edges and items of its stored stretches.

    An even node is in the edge of any stretch that begins within its sibling; so a node of any
    height costs a few reads. KeyError where the log is not held, or only as a larger subtree.
    """

    def __init__(self, connection: Connection, log: int, size: int, edge: list[bytes]) -> None:
        self._connection = connection
        self._log = log
        self._end = size, edge
        self._nodes: dict[tuple[int, int], bytes] = {}
        self._held: NodeReader | None = None
        self._range = (0, 0)

    def __call__(self, level: int, at: int) -> bytes:
        """The node; KeyError where it cannot be made."""
        node = self._nodes.get((level, at))
        if node is None:
            node = self._read(level, at)
            self._nodes[level, at] = node
        return node

    def _read(self, level: int, at: int) -> bytes:
        begin, end = at << level, (at + 1) << level
        if not at & 1:
            found = self._in_edge(level, end)
            if found is not None:
                return found
        read = self._stretch(begin)
        if read is not None and end <= self._range[1]:
            return read(level, at)
        if level == 0:
            raise KeyError(at)
        return node_hash(self(level - 1, 2 * at), self(level - 1, 2 * at + 1))

    def _in_edge(self, level: int, end: int) -> bytes | None:
        # Sizes from here until the sibling is complete have this node as one of their edge.
        most = end + (1 << level)
        size, edge = self._end
        if not end <= size < most:
            table = schema.stretches
            row = self._connection.execute(
                sa.select(table.c.first, table.c.edge)
                .where(table.c.log == self._log, table.c.first >= end, table.c.first < most)
                .order_by(table.c.first)
                .limit(1)
            ).one_or_none()
            if row is None:
                return None
            size, edge = row.first, split(row.edge)
        return edge[(size >> (level + 1)).bit_count()]

    def _stretch(self, index: int) -> NodeReader | None:
        first, to = self._range
        if self._held is None or not first <= index < to:
            held = held_over(self._connection, self._log, index)
            if held is None:
                return None
            self._held, self._range = held.reader(), (held.first, held.to)
        return self._held

    def root(self, size: int) -> bytes:
        """The root of the first `size` leaves."""
        edge = []
        begin = 0
        for level in range(size.bit_length() - 1, -1, -1):
            if size >> level & 1:
                edge.append(self(level, begin >> level))
                begin += 1 << level
        return Tree(size, edge).root()


def log_of(connection: Connection, device: bytes, epoch: bytes) -> Found:
    """The row of a log, or None."""
    table = schema.logs
    return connection.execute(
        sa.select(table).where(table.c.device == device, table.c.epoch == epoch)
    ).one_or_none()


def consistency(
    connection: Connection, id_: bytes, epoch: bytes, size1: int, size2: int
) -> answers.Consistency:
    """Both roots and the path; Problem 404 where they cannot be shown."""
    row = log_of(connection, id_, epoch)
    if row is None or size2 > row.size:
        raise missing("log of this size")
    read = StoredNodes(connection, row.log, row.size, split(row.edge))
    try:
        root1, root2 = read.root(size1), read.root(size2)
        path = [] if size1 == size2 else consistency_from_nodes(read, size1, size2)
    except KeyError:
        raise missing("path between these sizes") from None
    return answers.Consistency(
        device_text(id_), b64u(epoch), size1, b64u(root1), size2, b64u(root2), list(map(b64u, path))
    )


def heads(connection: Connection, after: int, device: bytes | None, limit: int) -> answers.Heads:
    """Newest heads of logs, and key changes, whose entries are above `after` and published."""
    size = published(connection)
    logs, known, entries = schema.logs, schema.checkpoints, schema.entries
    query = (
        sa.select(logs.c.device, logs.c.epoch, known.c.size, known.c.entry, entries.c.data)
        .join(known, known.c.digest == logs.c.checkpoint)
        .join(entries, entries.c.entry == known.c.entry)
        .where(known.c.entry > after, known.c.entry < size)
        .where(sa.true() if device is None else logs.c.device == device)
    )
    rows = connection.execute(query.order_by(known.c.entry).limit(limit)).all()
    changes = _changes(connection, after, size, limit)
    # A list that is full ends the page: nothing beyond it was looked at.
    ends = [found[-1].entry for found in (rows, changes) if len(found) == limit]
    following = min(ends, default=max(after, size - 1))
    found = [
        answers.Head(device_text(row.device), b64u(row.epoch), row.size, row.entry, b64u(row.data))
        for row in rows
        if row.entry <= following
    ]
    made = [keychange.parse(row.data) for row in changes if row.entry <= following]
    shown = [
        answers.KeyChangeAt(device_text(one.id), b64u(one.digest), row.entry)
        for row, one in zip(changes, made, strict=False)
        if device is None or one.id == device
    ]
    return answers.Heads(found, shown, following)


def _changes(connection: Connection, after: int, size: int, limit: int) -> list[Found]:
    table = schema.entries
    rows = connection.execute(
        sa.select(table.c.entry, table.c.data)
        .where(table.c.kind == KEY_CHANGE, table.c.entry > after, table.c.entry < size)
        .order_by(table.c.entry)
        .limit(limit)
    )
    return list(rows)


def credential_of(connection: Connection, id_: bytes) -> bytes:
    """An enrolment and the key changes after it."""
    data: bytes | None = connection.execute(
        sa.select(schema.identities.c.credential).where(schema.identities.c.id == id_)
    ).scalar_one_or_none()
    if data is None:
        raise missing("id")
    return data


def fork_proofs(connection: Connection) -> answers.ForkProofs:
    """The newest ones."""
    table = schema.forks
    rows = connection.execute(
        sa.select(table)
        .where(table.c.reason == "fork")
        .order_by(table.c.time_ms.desc(), table.c.fork)
        .limit(FORKS_ANSWERED_MAX)
    )
    found = []
    for row in rows:
        proof = portable(row)
        if proof is not None:
            found.append(
                answers.ForkProof(
                    device_text(row.device), b64u(row.epoch), b64u(proof.encode()), row.time_ms
                )
            )
    return answers.ForkProofs(found)
