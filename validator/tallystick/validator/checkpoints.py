"""Device checkpoints: logged once each, with the custody receipts that they name."""

import sqlalchemy as sa

from tallystick.evidence.checkpoint import VerifiedCheckpoint
from tallystick.evidence.kinds import CHECKPOINT
from tallystick.validator import schema
from tallystick.validator.custody import Custody
from tallystick.validator.devicelog import DeviceLog
from tallystick.validator.identities import Known
from tallystick.validator.work import Work


class Checkpoints:
    """Adds checkpoints to the log and to what is known of a device's log."""

    def __init__(self, custody: Custody) -> None:
        self._custody = custody

    def add(
        self,
        work: Work,
        known: Known,
        log: DeviceLog,
        head: VerifiedCheckpoint,
        *,
        inside: bool,
        new: bool = False,
    ) -> int:
        """Log a verified checkpoint; `inside`: its root is that of the log's own leaves.

        `new`: the caller knows that it was never seen. Returns its index in this validator's log.
        """
        if not new:
            row = (
                work.written(schema.checkpoints)
                .execute(
                    sa.select(schema.checkpoints.c.entry, schema.checkpoints.c.inside).where(
                        schema.checkpoints.c.digest == head.digest
                    )
                )
                .one_or_none()
            )
            if row is not None:
                if inside and not row.inside:
                    self._now_inside(work, log, head)
                entry: int = row.entry
                return entry
        entry = work.statement(CHECKPOINT, head.received().sign1, head.digest, new=new)
        work.insert(
            schema.checkpoints,
            digest=head.digest,
            log=log.log,
            size=head.size,
            root=head.root,
            claims=head.claims,
            custody=head.custody,
            entry=entry,
            time_ms=work.group.time_ms,
            inside=inside,
        )
        if not inside:
            log.heads_ahead += 1
        log.changed = True
        known.heard_ms = work.group.time_ms
        if head.custody is not None:
            self._custody.named(work, head.custody, log.device)
        return entry

    @staticmethod
    def known(work: Work, digest: bytes) -> int | None:
        """Where a checkpoint is logged that belongs to what is known of its log."""
        entry: int | None = (
            work.written(schema.checkpoints)
            .execute(
                sa.select(schema.checkpoints.c.entry).where(schema.checkpoints.c.digest == digest)
            )
            .scalar_one_or_none()
        )
        return entry

    @staticmethod
    def _now_inside(work: Work, log: DeviceLog, head: VerifiedCheckpoint) -> None:
        work.connection.execute(
            sa.update(schema.checkpoints)
            .where(schema.checkpoints.c.digest == head.digest)
            .values(inside=True)
        )
        log.heads_ahead -= 1
        log.changed = True
