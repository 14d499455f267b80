"""Where a signed head stands under its key, by this validator's log (protocol.md, 5.2, 5.4)."""

from collections.abc import Callable

import sqlalchemy as sa

from tallystick.evidence import checkpoint
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.credential import Identity, KeyPeriod
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.segment import Segment
from tallystick.validator import schema
from tallystick.validator.devicelog import DeviceLog, held_over, statement_of
from tallystick.validator.identities import touch
from tallystick.validator.reads import Reads
from tallystick.validator.work import Work
from tallystick.verify.standing import (
    HEAD_COMPROMISED,
    HEAD_SUSPECT,
    Left,
    left_before,
    status_of,
)

LATER_EPOCHS_MAX = 64


def status(reads: Reads, identity: Identity, head: Checkpoint, key: PublicKey) -> str:
    """The status of a head that `key` signed."""
    period = identity.period(key.thumbprint())
    if not period.ended:
        return "active"
    before = False
    if period.reason == "compromised" and period.ended_by is not None:
        logged, ended = reads.entry_of(head.digest), reads.entry_of(period.ended_by)
        before = logged is not None and ended is not None and logged < ended
    left = _left(reads, identity, period, head)
    before = before and not _on_another_branch(reads, identity, period, left, head)
    return status_of(identity, head, key, left, before=before)


def touch_placed(work: Work, identity: Identity, epoch: bytes) -> None:
    """What contradicts an epoch, or its leaves, came: heads of a compromised key stand otherwise.

    Every batch of such a log pays for that; only logs with a contradiction do.
    """
    if any(period.reason == "compromised" for period in identity.keys) and _forked(
        work, identity, epoch
    ):
        touch(work, identity.id)


def _forked(reads: Reads, identity: Identity, epoch: bytes) -> bool:
    table = schema.forks
    forked = reads.written(table, schema.stretches).execute(
        sa.select(table.c.fork).where(
            table.c.device == identity.id, table.c.epoch == epoch, table.c.reason == "fork"
        )
    )
    return forked.first() is not None


def _on_another_branch(
    reads: Reads, identity: Identity, period: KeyPeriod, left: Left, head: Checkpoint
) -> bool:
    """Whether a forked log's head is not shown to lie below the head that is trusted.

    A thief's branch may have been logged before its key was revoked, and be no longer than that.
    """
    if period.end is None or not _forked(reads, identity, head.epoch):
        return False
    size, root = period.end[1:] if period.end[0] == head.epoch else left.get(head.epoch, (0, b""))
    if (head.size, head.root) == (size, root):
        return False
    known = ((size, root), (head.size, head.root))
    return not all(_root_at(reads, head, at) == wanted for at, wanted in known)


def _root_at(reads: Reads, head: Checkpoint, size: int) -> bytes | None:
    log = reads.logs.get((head.device, head.epoch))
    number = log.log if log is not None else _log_of(reads, head.device, head.epoch)
    if number is None or size < 1:
        return None
    held = held_over(reads.connection, number, size - 1)
    tree = None if held is None else held.tree_at(size)
    return None if tree is None else tree.root()


def _left(reads: Reads, identity: Identity, period: KeyPeriod, head: Checkpoint) -> Left:
    if period.end is None or period.end[0] == head.epoch:
        return {}
    return left_before(period.end[0], first_record(reads, identity.id))


def is_beyond(work: Work, identity: Identity, head: Checkpoint) -> bool:
    """Whether a head is beyond what its key may sign; Unverified when it is of no key of the id."""
    key = identity.own_key_of(head)
    period = identity.period(key.thumbprint())
    if not period.ended:
        return False
    left = _left(work, identity, period, head)
    # Had it been logged before: of a compromised key too, the log goes on up to the named head.
    placed = status_of(identity, head, key, left, before=True)
    return placed in {HEAD_SUSPECT, HEAD_COMPROMISED}


def good_stretches(work: Work, identity: Identity, received: Segment) -> int:
    """How many stretches of a segment come before those that end it beyond their key's end."""
    good = len(received.stretches)
    if not any(period.ended for period in identity.keys):
        return good
    while good:
        head = checkpoint.parse(received.stretches[good - 1].checkpoint)
        if not is_beyond(work, identity, head):
            break
        good -= 1
    return good


def first_record(reads: Reads, device: bytes) -> Callable[[bytes], bytes | None]:
    """Reads the first record of an epoch of a device; None where its body is not held."""

    def read(epoch: bytes) -> bytes | None:
        connection = reads.written(schema.stretches, schema.logs)
        log = reads.logs.get((device, epoch))
        number = log.log if log is not None else _log_of(reads, device, epoch)
        held = None if number is None else held_over(connection, number, 0)
        if held is None or not held.stretch.items:
            return None
        item = held.stretch.items[0]
        return item if isinstance(item, bytes) else None

    return read


def _log_of(reads: Reads, device: bytes, epoch: bytes) -> int | None:
    number: int | None = reads.connection.execute(
        sa.select(schema.logs.c.log).where(
            schema.logs.c.device == device, schema.logs.c.epoch == epoch
        )
    ).scalar_one_or_none()
    return number


def signed_after(work: Work, log: DeviceLog, head: Checkpoint, others: list[DeviceLog]) -> bool:
    """Whether a head of a left epoch shows that it was signed after a later one had begun.

    By a custody receipt over the later epoch, which nobody could make before that had its random
    name, or by the hardware counter. What a gateway dates shows nothing: it may hold heads back.
    """
    read = first_record(work, log.device)
    later = [
        one
        for one in others[:LATER_EPOCHS_MAX]
        if one.epoch != log.epoch and log.epoch in left_before(one.epoch, read)
    ]
    if head.custody is not None:
        of = _epoch_of_receipt(work, head.custody, log.device)
        if any(one.epoch == of for one in later):
            return True
    if head.counter is None:
        return False
    return any(_counter_exceeds(work, one, head) for one in later)


def _epoch_of_receipt(work: Work, digest: bytes, device: bytes) -> bytes | None:
    # By its digest, which the device signed: whoever signed the receipt does not matter here.
    offered = work.custody.get(digest)
    if offered is not None and offered.received.device == device:
        return offered.received.epoch
    epoch: bytes | None = (
        work.written(schema.custody)
        .execute(sa.select(schema.custody.c.epoch).where(schema.custody.c.digest == digest))
        .scalar_one_or_none()
    )
    return epoch


def _counter_exceeds(work: Work, log: DeviceLog, head: Checkpoint) -> bool:
    table = schema.checkpoints
    connection = work.written(table)
    work.group.flush()
    digest = connection.execute(
        sa.select(table.c.digest).where(table.c.log == log.log).order_by(table.c.size).limit(1)
    ).scalar_one_or_none()
    first = None if digest is None else statement_of(connection, digest)
    if first is None or first.counter is None or head.counter is None:
        return False
    # Counters of two chips say nothing of each other.
    one_key = first.received().kid == head.received().kid
    return one_key and head.counter > first.counter
