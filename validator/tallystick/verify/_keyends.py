"""Where records stand under keys that ended, and what forks do to them (docs/policy.md, 2).

A file shows validators' logs in part: which log had a head before it had the revocation of its key,
and from which epochs the named head descends. What is not shown does not count.
"""

from __future__ import annotations

from tallystick.evidence import forkproof
from tallystick.evidence.checkpoint import VerifiedCheckpoint
from tallystick.evidence.credential import Identity, KeyPeriod
from tallystick.evidence.event import Event
from tallystick.evidence.keys import device_text
from tallystick.verify._identities import Identities
from tallystick.verify._logs import Logs
from tallystick.verify.report import PinnedValidator, Record, Report
from tallystick.verify.standing import HEAD_SUSPECT, Left, left_before, proves_nothing, status_of


class KeyEnds:
    """Judges the heads of a file; `opened` must have all disclosed records before."""

    def __init__(self, known: Identities, logs: Logs, report: Report) -> None:
        self.known = known
        self.logs = logs
        self.report = report
        self.forked: set[bytes] = set()
        self._heads: dict[bytes, bytes] = {}
        self._first: dict[tuple[bytes, bytes], bytes] = {}

    def opened(self, record: Record) -> None:
        """Remember a verified first record: it names the epoch that was left."""
        if record.index == 0 and isinstance(record.body, Event):
            self._first[record.device, record.epoch] = record.body.encode()

    def judge(self, record: Record, head: VerifiedCheckpoint) -> None:
        """Set the record's status, and which validators had logged it before a revocation."""
        self._heads.setdefault(record.reference, head.digest)
        identity = record.identity
        period = identity.period(head.key.thumbprint())
        left = self._left(identity, period)
        record.status = status_of(identity, head, head.key, left, before=False)
        if period.reason == "compromised":
            if status_of(identity, head, head.key, left, before=True) == "prior":
                record.prior = self._before(period, head)
            if record.prior:
                record.status = "prior"
        elif record.device in self.forked:
            record.status = HEAD_SUSPECT

    def _left(self, identity: Identity, period: KeyPeriod) -> Left:
        if period.end is None:
            return {}
        return left_before(period.end[0], lambda epoch: self._first.get((identity.id, epoch)))

    def _before(self, period: KeyPeriod, head: VerifiedCheckpoint) -> frozenset[PinnedValidator]:
        found = set()
        for validator, log in self.logs.by_validator.items():
            at = log.statements.get(head.digest)
            if at is None:
                continue
            revoked = log.statements.get(period.ended_by or b"")
            if revoked is not None:
                before = at < revoked
            else:
                # Not shown in this log: then the receipt itself must be older than what it says.
                stated_s = self.known.revoked_s.get(period.ended_by or b"", 0)
                before = self.logs.logged_s[head.digest][validator] < stated_s
            if before:
                found.add(validator)
        return frozenset(found)

    def wrongly_prior(self, record: Record, validator: PinnedValidator) -> bool:
        """Whether a validator's own log shows that it had the revocation before the record."""
        log = self.logs.by_validator.get(validator)
        at = None if log is None else log.statements.get(self._heads[record.reference])
        period = record.identity.period(record.key)
        revoked = None if log is None else log.statements.get(period.ended_by or b"")
        return at is not None and revoked is not None and revoked < at

    def add_fork(self, data: bytes) -> None:
        """One fork proof of the file; Unverified when it is none."""
        proof = forkproof.parse(data)
        what = f"fork of device {device_text(proof.device)}"
        identity = self.known.by_id.get(proof.device)
        if identity is None:
            self.report.leave(what, "no accepted credential of the device is in the file")
            return
        for head in proof.verify(identity):
            left = self._left(identity, identity.period(head.key.thumbprint()))
            if status_of(identity, head, head.key, left, before=False) == HEAD_SUSPECT:
                self.report.leave(what, "one of its heads is beyond the end of its key")
                return
        follows = "its key is suspect"
        if any(proves_nothing(identity, head) for head in (proof.first, proof.second)):
            follows = "its key is compromised, so that proves nothing against another one"
        else:
            self.forked.add(proof.device)
        self.report.forks.append(proof)
        self.report.check(
            what,
            f"it signed two histories of one log, up to {proof.first.size} and to "
            f"{proof.second.size}; {follows}",
        )
