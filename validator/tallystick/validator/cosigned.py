"""Checkpoints of this log with the cosignatures that they have (docs/protocol.md, 8.3)."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence import note as notes
from tallystick.evidence.limits import LOG_CHECKPOINT_SIGNATURES_MAX
from tallystick.validator import schema
from tallystick.validator.limits import COSIGN_LAG_MS_MAX
from tallystick.validator.problem import Problem
from tallystick.validator.receipts import Head, head_over, newest_head


def with_lines(text: str, lines: list[str]) -> str:
    """A checkpoint with these signature lines added; parsed again, so that it can be read."""
    room = LOG_CHECKPOINT_SIGNATURES_MAX - 1
    return notes.parse(text + "".join(lines[:room])).text()


def _lines(connection: Connection, sizes: list[int]) -> dict[int, list[str]]:
    table = schema.cosignatures
    found: dict[int, list[str]] = {}
    query = sa.select(table).where(table.c.size.in_(sizes)).order_by(table.c.size, table.c.name)
    for row in connection.execute(query):
        found.setdefault(row.size, []).append(row.line)
    return found


def _newest(connection: Connection) -> Head:
    head = newest_head(connection)
    if head is None:
        raise Problem("not-ready", "nothing is published yet", status=503)
    return head


def newest_text(connection: Connection) -> str:
    """The newest checkpoint, with the cosignatures that it has."""
    head = _newest(connection)
    return with_lines(head.note, _lines(connection, [head.size]).get(head.size, []))


def best_text(connection: Connection) -> str:
    """Of the newest checkpoints the one with the most cosignatures (docs/protocol.md, 8.3)."""
    head = _newest(connection)
    recent = schema.heads.c.time_ms >= head.time_ms - COSIGN_LAG_MS_MAX
    return _with_most(connection, head, recent)[1]


def head_above(connection: Connection, index: int) -> tuple[Head, str]:
    """The checkpoint over an entry with the most cosignatures, and its text with them."""
    head = _newest(connection)
    return _with_most(connection, head, schema.heads.c.size > index)


def _with_most(
    connection: Connection, head: Head, which: "sa.ColumnElement[bool]"
) -> tuple[Head, str]:
    """Of the checkpoints that may be served; `head` where none of them was cosigned."""
    table, heads = schema.cosignatures, schema.heads
    row: Any = connection.execute(
        sa.select(table.c.size, sa.func.count().label("many"))
        .join(heads, heads.c.size == table.c.size)
        .where(which)
        .group_by(table.c.size)
        .order_by(sa.desc("many"), table.c.size.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return head, head.note
    if row.size != head.size:
        head = head_over(connection, row.size - 1) or head
    return head, with_lines(head.note, _lines(connection, [head.size])[head.size])
