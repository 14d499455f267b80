"""Claims that are known by their leaf only (docs/reconciliation.md, section 2).

Where a gateway sends hashes, a leaf may be a claim that somebody relied on. Its reference tells.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence.checkpoint import VerifiedCheckpoint
from tallystick.evidence.ids import claim_reference
from tallystick.validator import schema
from tallystick.validator.devicelog import DeviceLog, Held
from tallystick.validator.rows import Among
from tallystick.validator.work import Work


def note(work: Work, log: DeviceLog, held: Held, head: VerifiedCheckpoint) -> None:
    """Keep the references of a new stretch's elided leaves; who relied on one is due."""
    items = held.stretch.items
    found = {
        claim_reference(log.device, log.epoch, at, leaf): (at, leaf)
        for (at, level, leaf), item in zip(held.leaves(), items, strict=True)
        if level == 0 and not isinstance(item, bytes)
    }
    if not found:
        return
    references = list(found)
    connection = work.written(schema.relying, schema.bodiless, schema.claims)
    work.dirty.update(row.party_set for row in _RELYING.found(connection, references))
    known = {row.claim for one in (_BODILESS, _CLAIMS) for row in one.found(connection, references)}
    for reference, (at, leaf) in found.items():
        if reference not in known:
            work.insert(
                schema.bodiless,
                claim=reference,
                log=log.log,
                at=at,
                leaf=leaf,
                device=log.device,
                checkpoint=head.digest,
            )


def relied(work: Work, references: Sequence[bytes], number: int) -> None:
    """Remember what a claim relied on, where that is not read here."""
    table = schema.relying
    for reference in references:
        connection = work.written(schema.claims, table)
        read = connection.execute(
            sa.select(schema.claims.c.claim).where(schema.claims.c.claim == reference)
        )
        if read.first() is not None:
            continue
        known = connection.execute(
            sa.select(table.c.claim).where(table.c.claim == reference, table.c.party_set == number)
        )
        if known.first() is None:
            work.insert(table, claim=reference, party_set=number)


def read_now(work: Work, reference: bytes) -> None:
    """The body has come: whoever relied on it reads it now."""
    for table in (schema.bodiless, schema.relying):
        connection = work.written(table)
        if table is schema.relying:
            work.dirty.update(
                connection.execute(
                    sa.select(table.c.party_set).where(table.c.claim == reference)
                ).scalars()
            )
        connection.execute(sa.delete(table).where(table.c.claim == reference))


def touch(work: Work, device: bytes) -> None:
    """Findings that know a leaf of this device without its body are due again."""
    table, leaves = schema.relying, schema.bodiless
    found = (
        sa.select(table.c.party_set)
        .join(leaves, leaves.c.claim == table.c.claim)
        .where(leaves.c.device == device)
    )
    work.dirty.update(work.written(table, leaves).execute(found.distinct()).scalars())


def relied_on(connection: Connection, numbers: Sequence[int]) -> dict[int, list[Any]]:
    """Leaves that claims of these sets relied on, by set."""
    found: dict[int, list[Any]] = {}
    for row in _RELIED_ON.found(connection, numbers):
        found.setdefault(row.party_set, []).append(row)
    return found


_RELIED_ON = Among(
    schema.relying.c.party_set.type,
    lambda wanted: (
        sa.select(schema.relying.c.party_set, schema.bodiless, schema.logs.c.epoch)
        .join(schema.bodiless, schema.bodiless.c.claim == schema.relying.c.claim)
        .join(schema.logs, schema.logs.c.log == schema.bodiless.c.log)
        .where(schema.relying.c.party_set.in_(wanted))
    ),
)


def _by_claim(column: Any, table: sa.Table) -> Among:
    return Among(
        table.c.claim.type, lambda wanted: sa.select(column).where(table.c.claim.in_(wanted))
    )


# Of nearly every stretch that comes without its decisions: what runs so often is compiled once.
_RELYING = _by_claim(schema.relying.c.party_set, schema.relying)
_BODILESS = _by_claim(schema.bodiless.c.claim, schema.bodiless)
_CLAIMS = _by_claim(schema.claims.c.claim, schema.claims)
