"""A known log cut back to where its key ended.

Whoever has an old key may have written on where the device's new key goes on, and have been heard
first. What it wrote stays logged with its status; the log continues where the named head ends.
"""

import sqlalchemy as sa

from tallystick.evidence import checkpoint
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.tree import Tree
from tallystick.validator import schema
from tallystick.validator.devicelog import DeviceLog, held_over
from tallystick.validator.identities import Known, touch
from tallystick.validator.keystatus import is_beyond
from tallystick.validator.portable import total
from tallystick.validator.work import Work


def cut_ours(work: Work, known: Known, log: DeviceLog, ours: Checkpoint) -> bool:
    """Whether it is our side of a contradiction that an ended key wrote, and was cut off."""
    if not is_beyond(work, known.identity, ours):
        return False
    end = known.identity.period(known.identity.own_key_of(ours).thumbprint()).end
    return cut_back(work, log, end[1] if end is not None and end[0] == log.epoch else 0)


def cut_back(work: Work, log: DeviceLog, size: int) -> bool:
    """Forget what is known of a log from `size` on, or from a stretch that passes over it.

    False where nothing is known before: then there is nothing to continue.
    """
    work.flush()
    connection = work.connection
    held = held_over(connection, log.log, size - 1) if size else None
    if held is None:
        return False
    tree = held.tree_at(size)
    if tree is None or held.to != size:
        tree = Tree(held.first, held.edge)
    at = tree.size
    if at <= log.began:
        return False
    # Leaves that somebody relied on go, and stretches by which heads were placed.
    touch(work, log.device)
    for table, column in (
        (schema.stretches, schema.stretches.c.first),
        (schema.boots, schema.boots.c.at),
        (schema.refused_records, schema.refused_records.c.at),
        (schema.bodiless, schema.bodiless.c.at),
    ):
        connection.execute(sa.delete(table).where(table.c.log == log.log, column >= at))
    branches = schema.forks
    kept = sa.exists().where(
        branches.c.device == log.device,
        branches.c.epoch == log.epoch,
        branches.c.segment.is_not(None),
    )
    copies = schema.copies
    # With their stretches; but where a branch is kept they tell what is to be erased from it.
    connection.execute(sa.delete(copies).where(copies.c.log == log.log, copies.c.at >= at, ~kept))
    heads = schema.checkpoints
    connection.execute(sa.delete(heads).where(heads.c.log == log.log, heads.c.size > at))
    log.tree = tree
    log.ahead = 0
    log.heads_ahead = _count(work, heads, heads.c.log == log.log, ~heads.c.inside)
    claims = schema.claims
    log.claims = _count(work, claims, claims.c.log == log.log, claims.c.at < at)
    stretches = schema.stretches
    covered = sa.select(total(stretches.c.to - stretches.c.first))
    log.covered = connection.execute(covered.where(stretches.c.log == log.log)).scalar_one()
    newest = connection.execute(
        sa.select(schema.entries.c.data)
        .join(heads, heads.c.entry == schema.entries.c.entry)
        .where(heads.c.log == log.log)
        .order_by(heads.c.size.desc(), heads.c.entry.desc())
        .limit(1)
    ).scalar_one_or_none()
    log.newest = None if newest is None else checkpoint.parse(newest)
    log.changed = True
    return True


def _count(work: Work, table: sa.Table, *where: sa.ColumnElement[bool]) -> int:
    found: int = work.connection.execute(
        sa.select(sa.func.count()).select_from(table).where(*where)
    ).scalar_one()
    return found
