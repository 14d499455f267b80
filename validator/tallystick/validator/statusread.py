"""`GET /v1/status`: what the service holds, refused, and who cosigns its log."""

from typing import Annotated, Literal

import sqlalchemy as sa
from msgspec import Meta, Struct
from sqlalchemy.engine import Connection

from tallystick.evidence.keys import b64u
from tallystick.validator import queries, schema
from tallystick.validator.answers import Id, ImportedPeer, Index, Milliseconds, PeerState
from tallystick.validator.inbox import Ahead
from tallystick.validator.limits import COSIGN_LAG_MS_MAX
from tallystick.validator.reconciler import Reconciling
from tallystick.validator.sequencer import Sequencer

COSIGNATURES_READ_MAX = 1_000


class Cosigner(Struct):
    """A witness of this log: the newest checkpoint that it cosigned, and when.

    Null where it made none of the newest 1,000 cosignatures. It is behind when it has not cosigned
    what was published a minute ago.
    """

    name: str
    size: Index | None
    time_s: Annotated[int, Meta(ge=0, description="since 1970-01-01 UTC")] | None
    behind: bool


class Cosignatures(Struct):
    """How many cosignatures the newest checkpoint has, and each witness that is asked."""

    newest: Index
    witnesses: list[Cosigner]


class Status(Struct):
    """What the service holds, and what it refused, by reason."""

    name: str
    origin: str
    id: Id
    ready: bool
    failure: str | None
    size: Index
    published: Index
    time_ms: Milliseconds
    devices: Index
    decisions: Index
    claims: Index
    refused_records: Index
    states: dict[str, int]
    waiting_batches: Index
    time_evidence_missing: Index
    forks: Index
    refusals: dict[str, int]
    # Of each configured peer: whether it answered when it was asked last.
    peers: dict[str, PeerState]
    # Organisations that were imported (docs/protocol.md, 5.6).
    circle: list[ImportedPeer]
    # Of this log's checkpoints (docs/protocol.md, 8.4).
    cosignatures: Cosignatures
    # Null on SQLite, where one process does everything.
    ahead: Ahead | None
    reconciling: Reconciling


class Ready(Struct):
    """It takes batches; by whom findings are computed, and since when some are due."""

    status: Literal["ok"]
    reconciling: Reconciling


def status_of(connection: Connection, sequencer: Sequencer) -> Status:
    """Of a running service."""
    devices, decisions, claims, refused_records = queries.totals(connection)
    now_ms = sequencer.log.now_ms()
    return Status(
        sequencer.config.name,
        sequencer.config.origin,
        b64u(sequencer.keys.id),
        sequencer.failure is None,
        sequencer.failure,
        sequencer.log.tree.size,
        queries.published(connection),
        now_ms,
        devices,
        decisions,
        claims,
        refused_records,
        queries.states(connection),
        sequencer.waiting,
        queries.rows_of(connection, schema.custody_missing),
        queries.contradictions(connection),
        sequencer.refusals.totals(),
        dict(sequencer.peers),
        sequencer.circle.told(),
        cosignatures_of(connection, list(sequencer.witnessed_logs), now_ms),
        None if sequencer.inbox is None else sequencer.inbox.told(),
        sequencer.reconciler.told(),
    )


def cosignatures_of(connection: Connection, names: list[str], now_ms: int) -> Cosignatures:
    """names: of the witnesses that are asked now."""
    heads, table = schema.heads, schema.cosignatures
    due: int | None = connection.execute(
        sa.select(sa.func.max(heads.c.size)).where(heads.c.time_ms < now_ms - COSIGN_LAG_MS_MAX)
    ).scalar_one()
    newest: int = connection.execute(
        sa.select(sa.func.count())
        .select_from(table)
        .where(table.c.size == sa.select(sa.func.max(heads.c.size)).scalar_subquery())
    ).scalar_one()
    # Bounded: whoever never cosigned is not looked for in the whole store at each question.
    recent = (
        sa.select(table.c.name, table.c.size, table.c.time_s)
        .order_by(table.c.size.desc())
        .limit(COSIGNATURES_READ_MAX)
    )
    known: dict[str, tuple[int, int]] = {}
    for row in connection.execute(recent):
        known.setdefault(row.name, (row.size, row.time_s))
    found = []
    for name in sorted(names):
        size, time_s = known.get(name, (None, None))
        found.append(Cosigner(name, size, time_s, (size or 0) < (due or 0)))
    return Cosignatures(newest, found)
