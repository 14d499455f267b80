"""Log entries as an evidence file holds them: each with its receipt, and what shows its time."""

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence.kinds import TIME
from tallystick.validator import schema
from tallystick.validator.receipts import Head, build_receipts, node_reader
from tallystick.validator.work import CHUNK


def proven(
    connection: Connection, entries: Iterable[int], head: Head
) -> list[tuple[bytes, list[bytes]]]:
    """Entries below a published head with their receipts at it, and the times around each."""
    indexes = {entry for entry in entries if entry < head.size}
    indexes |= _times_around(connection, indexes, head.size)
    read = node_reader(connection)
    receipts = build_receipts(connection, indexes, read, head)
    table = schema.entries
    wanted = sorted(indexes)
    data: dict[int, bytes] = {}
    for at in range(0, len(wanted), CHUNK):
        rows = connection.execute(
            sa.select(table.c.entry, table.c.data).where(table.c.entry.in_(wanted[at : at + CHUNK]))
        )
        data.update({row.entry: row.data for row in rows})
    return [(data[entry], [receipts[entry]]) for entry in wanted]


def _times_around(connection: Connection, indexes: Iterable[int], size: int) -> set[int]:
    """The time entries before and after each: they show its log time."""
    table = schema.entries
    found: set[int] = set()
    for index in indexes:
        for where, order in (
            (table.c.entry <= index, table.c.entry.desc()),
            (table.c.entry > index, table.c.entry.asc()),
        ):
            at = connection.execute(
                sa.select(table.c.entry).where(table.c.kind == TIME, where).order_by(order).limit(1)
            ).scalar_one_or_none()
            if at is not None and at < size:
                found.add(at)
    return found
