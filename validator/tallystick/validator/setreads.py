"""What a finding is computed from, as the store has it."""

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence import keycustody
from tallystick.evidence.credential import Identity
from tallystick.validator import keystatus, schema
from tallystick.validator.devicelog import statement_of
from tallystick.validator.identities import Known
from tallystick.validator.limits import OTHERS_PER_SET_MAX
from tallystick.validator.reads import Reads
from tallystick.validator.rows import Among
from tallystick.validator.work import CHUNK, Work
from tallystick.verify.inputs import SKEW_MS_MAX, TimeEvidence

Found = Any  # a row of a query

# A checkpoint and the receipt that it names. One that is dated after the checkpoint was logged is
# by a gateway whose clock is wrong, or that would have its device look silent.
_EVIDENCE = (
    (schema.checkpoints.c.custody == schema.custody.c.digest)
    & schema.checkpoints.c.inside
    & (schema.custody.c.time_ms <= schema.checkpoints.c.time_ms + SKEW_MS_MAX)
)


def standing(reads: Reads, known: Known | None, checkpoint: bytes) -> tuple[str, int]:
    """Key status and counted level of custody at the claim (docs/reconciliation.md, 3.3)."""
    if known is None:
        # Its root was taken off the configuration: nobody vouches for the key any more.
        return "suspect", 0
    identity: Identity = known.identity
    if len(identity.keys) == 1 and identity.status == "active":
        status = "active" if known.suspect is None else "suspect"
        return status, keycustody.current(identity).level
    head = statement_of(reads.logged(), checkpoint)
    if head is None:
        return "suspect", keycustody.current(identity).level
    key = identity.key_of(head)
    period = identity.period(key.thumbprint())
    level = keycustody.of_period(identity, period).level
    # What the root says of a compromised key settles what a fork left open.
    if known.suspect is not None and period.reason != "compromised":
        return "suspect", level
    return keystatus.status(reads, identity, head, key), level


def claims_of(
    connection: Connection, numbers: Sequence[int], devices: Sequence[bytes] | None = None
) -> dict[int, list[Found]]:
    """Claims by party set, of some devices only where they are given."""
    table = schema.claims
    if devices is None:
        return _by_set(_CLAIMS.found(connection, numbers))
    found: dict[int, list[Found]] = {}
    for at in range(0, len(numbers), CHUNK):
        query = (
            sa.select(table, schema.logs.c.epoch)
            .join(schema.logs, schema.logs.c.log == table.c.log)
            .where(table.c.party_set.in_(numbers[at : at + CHUNK]))
            .where(table.c.device.in_(devices))
            .order_by(table.c.claim)
            .limit(OTHERS_PER_SET_MAX)
        )
        for row in connection.execute(query):
            found.setdefault(row.party_set, []).append(row)
    return found


def _by_set(rows: Iterable[Found]) -> dict[int, list[Found]]:
    found: dict[int, list[Found]] = {}
    for row in rows:
        found.setdefault(row.party_set, []).append(row)
    return found


_CLAIMS = Among(
    schema.claims.c.party_set.type,
    lambda wanted: (
        sa.select(schema.claims, schema.logs.c.epoch)
        .join(schema.logs, schema.logs.c.log == schema.claims.c.log)
        .where(schema.claims.c.party_set.in_(wanted))
    ),
)


def silences_of(connection: Connection, numbers: Sequence[int]) -> dict[int, list[TimeEvidence]]:
    """The time evidence that findings of these sets use."""
    found: dict[int, list[TimeEvidence]] = {}
    for row in _SILENCES.found(connection, numbers):
        made = TimeEvidence(row.device, row.checkpoint, row.receipt, row.time_ms)
        found.setdefault(row.party_set, []).append(made)
    return found


_SILENCES = Among(
    schema.silences.c.party_set.type,
    lambda wanted: sa.select(schema.silences).where(schema.silences.c.party_set.in_(wanted)),
)


def siblings_of(connection: Connection, numbers: Sequence[int]) -> dict[int, list[Found]]:
    """Other party sets of the same interactions."""
    found: dict[int, list[Found]] = {}
    for row in _SIBLINGS.found(connection, numbers):
        found.setdefault(row.of, []).append(row)
    return found


def _siblings(wanted: list["sa.BindParameter[int]"]) -> sa.Select[Any]:
    ours = schema.party_sets.alias("ours")
    theirs = schema.party_sets.alias("theirs")
    return (
        sa.select(ours.c.party_set.label("of"), theirs.c.party_set, theirs.c.parties_digest)
        .join(
            theirs,
            (theirs.c.namespace == ours.c.namespace)
            & (theirs.c.interaction == ours.c.interaction)
            & (theirs.c.party_set != ours.c.party_set),
        )
        .where(ours.c.party_set.in_(wanted))
    )


_SIBLINGS = Among(schema.party_sets.c.party_set.type, _siblings)


def newest_evidence(connection: Connection, device: bytes) -> int | None:
    """When the newest logged custody receipt of a device is dated that can be evidence."""
    found: int | None = connection.execute(
        sa.select(sa.func.max(schema.custody.c.time_ms))
        .join(schema.checkpoints, _EVIDENCE)
        .where(schema.custody.c.device == device)
    ).scalar_one()
    return found


def keep_evidence(work: Work, number: int, device: bytes, due_ms: int) -> bool:
    """Keep the earliest logged evidence past the deadline; once kept it does not change."""
    receipts, heads = schema.custody, schema.checkpoints
    row = work.connection.execute(
        sa.select(heads.c.digest, receipts.c.digest.label("receipt"), receipts.c.time_ms)
        .join(heads, _EVIDENCE)
        .where(receipts.c.device == device, receipts.c.time_ms > due_ms)
        .order_by(receipts.c.time_ms, heads.c.digest)
        .limit(1)
    ).one_or_none()
    if row is None:
        return False
    table = schema.silences
    known = work.written(table).execute(
        sa.select(table.c.device).where(table.c.party_set == number, table.c.device == device)
    )
    if known.first() is None:
        work.insert(
            table,
            party_set=number,
            device=device,
            checkpoint=row.digest,
            receipt=row.receipt,
            time_ms=row.time_ms,
        )
        work.written(table)
    return True
