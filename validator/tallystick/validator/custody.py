"""Custody receipts: logged when a logged checkpoint names them; what is missing is remembered."""

import sqlalchemy as sa

from tallystick.evidence import custody
from tallystick.evidence.credential import Identity
from tallystick.evidence.custody import CustodyReceipt, VerifiedCustodyReceipt
from tallystick.evidence.enrolment import SUBJECT_GATEWAY
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.kinds import CUSTODY_RECEIPT
from tallystick.validator import schema
from tallystick.validator.identities import Identities
from tallystick.validator.limits import CUSTODY_CACHED_MAX
from tallystick.validator.rows import Prepared
from tallystick.validator.work import Recent, Work

NOT_SENT = "not-sent"

_ENTRY = Prepared(
    sa.select(schema.custody.c.entry).where(schema.custody.c.digest == sa.bindparam("digest"))
)
_COME = Prepared(
    sa.delete(schema.custody_missing).where(
        schema.custody_missing.c.digest == sa.bindparam("digest")
    )
)
_MISSING = Prepared(
    sa.select(schema.custody_missing.c.digest).where(
        schema.custody_missing.c.digest == sa.bindparam("digest")
    )
)


class Offered:
    """A custody receipt in a batch, parsed; verified only when a checkpoint names it."""

    def __init__(self, received: CustodyReceipt) -> None:
        self.received = received


def _verified(gateway: Identity, received: CustodyReceipt) -> VerifiedCustodyReceipt:
    key = gateway.key_of(received)
    if gateway.period(key.thumbprint()).reason == "compromised":
        raise Unverified("revoked", "whoever has the key may date what it likes")
    gateway.enrolment.check_time(received.time_ms // 1000)
    return received.verify(key)


class Custody:
    """What is known of custody receipts."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities
        self._logged: Recent[bytes, int] = Recent(CUSTODY_CACHED_MAX)

    def forget(self) -> None:
        """After a rollback."""
        self._logged.clear()

    def offer(self, work: Work, receipts: list[bytes]) -> None:
        """What a batch brings; a bad one is counted and affects no other."""
        for data in receipts:
            try:
                received = custody.parse(data)
            except Malformed as error:
                work.refuse(error.reason)
            else:
                work.custody[received.digest] = Offered(received)

    def entry(self, work: Work, digest: bytes) -> int | None:
        """Where a custody receipt is logged."""
        entry = self._logged.get(digest)
        if entry is None:
            for row in _ENTRY.rows(work.written(schema.custody), digest=digest):
                entry = int(row[0])
                self._logged.put(digest, entry)
        return entry

    def named(self, work: Work, digest: bytes, device: bytes) -> None:
        """A checkpoint of the device names this receipt: log it, or remember that it is missing."""
        if digest in work.missing_custody:
            return
        if self._logged.get(digest) is None:
            offered = work.custody.get(digest)
            if self.entry(work, digest) is None:
                reason = NOT_SENT if offered is None else self._log(work, offered.received, device)
                if reason is not None:
                    self._missing(work, digest, device, reason)
                    return
        work.heard.add(device)

    def late(self, work: Work) -> None:
        """Receipts for checkpoints that came without them before."""
        waiting = [digest for digest in work.custody if self._logged.get(digest) is None]
        if not waiting:
            return
        table = schema.custody_missing
        connection = work.written(table)
        for digest in waiting:
            device = connection.execute(
                sa.select(table.c.device).where(table.c.digest == digest)
            ).scalar_one_or_none()
            if (
                device is not None
                and self._log(work, work.custody[digest].received, device) is None
            ):
                work.heard.add(device)

    def _log(self, work: Work, received: CustodyReceipt, device: bytes) -> str | None:
        # Returns why not.
        if received.device != device:
            return self._refused(work, "wrong-device")
        reason = "unknown-device"
        signers = self._identities.by_kid(work, received.received().kid, SUBJECT_GATEWAY)
        for known in signers:
            try:
                verified = _verified(known.identity, received)
            except Unverified as error:
                reason = error.reason
                continue
            entry = work.statement(CUSTODY_RECEIPT, received.received().sign1, verified.digest)
            work.insert(
                schema.custody,
                digest=verified.digest,
                device=device,
                epoch=verified.epoch,
                gateway=known.identity.id,
                time_ms=verified.time_ms,
                entry=entry,
            )
            self._logged.put(verified.digest, entry)
            _COME.run_all(work.connection, [{"digest": verified.digest}])
            return None
        return self._refused(work, reason)

    @staticmethod
    def _refused(work: Work, reason: str) -> str:
        work.refuse(reason)
        return reason

    @staticmethod
    def _missing(work: Work, digest: bytes, device: bytes, reason: str) -> None:
        work.missing_custody.add(digest)
        table = schema.custody_missing
        if not _MISSING.rows(work.connection, digest=digest):
            work.insert(table, digest=digest, device=device, reason=reason)
