"""Where records stand under keys that ended, and what forks do to them (docs/policy.md, 2).

A file shows validators' logs in part: which log had a head before it had the revocation of its key,
and from which epochs the named head descends. What is not shown does not count.
"""

from __future__ import annotations

from typing import Any

from tallystick.evidence import forkproof
from tallystick.evidence.checkpoint import VerifiedCheckpoint
from tallystick.evidence.credential import Identity, KeyPeriod
from tallystick.evidence.digest import sha256
from tallystick.evidence.event import Event
from tallystick.evidence.forkproof import ForkProof
from tallystick.evidence.keys import PublicKey, b64u, device_text
from tallystick.verify._identities import Identities
from tallystick.verify._logs import Logs
from tallystick.verify._proofwords import REVOKED
from tallystick.verify.report import PinnedValidator, Proven, Record, Report
from tallystick.verify.standing import (
    EPOCHS_FOLLOWED_MAX,
    HEAD_COMPROMISED,
    HEAD_SUSPECT,
    Left,
    left_before,
    previous_of,
    proves_nothing,
    status_of,
)

Named = tuple[bytes, int, bytes]  # epoch, size and root of a head


class KeyEnds:
    """Judges the heads of a file; `opened` must have all disclosed records before."""

    def __init__(self, known: Identities, logs: Logs, report: Report) -> None:
        self.known = known
        self.logs = logs
        self.report = report
        self.forked: set[bytes] = set()
        # The heads that disclose a record, by its reference.
        self._heads: dict[bytes, list[VerifiedCheckpoint]] = {}
        self._first: dict[tuple[bytes, bytes], bytes] = {}
        # First records by device, and by epoch, size and root of a head over them.
        self._first_under: dict[tuple[bytes, Named], bytes] = {}

    def opened(self, record: Record, head: VerifiedCheckpoint) -> None:
        """Remember a disclosed record's head; a verified first record names the epoch left."""
        self._heads.setdefault(record.reference, []).append(head)
        if record.index == 0 and isinstance(record.body, Event):
            first = record.body.encode()
            self._first[record.device, record.epoch] = first
            self._first_under[record.device, (head.epoch, head.size, head.root)] = first

    def judge(self, record: Record, head: VerifiedCheckpoint) -> None:
        """Set the record's status, and which validators had logged it before a revocation."""
        identity = record.identity
        period = identity.period(head.key.thumbprint())
        if period.reason == HEAD_COMPROMISED:
            record.prior = self._prior(record, head.key, period)
            record.status = "prior" if record.prior else HEAD_COMPROMISED
            return
        left = self.left(identity, period)
        record.status = status_of(identity, head, head.key, left, before=False)
        if record.device in self.forked:
            record.status = HEAD_SUSPECT

    def _prior(
        self, record: Record, key: PublicKey, period: KeyPeriod
    ) -> frozenset[PinnedValidator]:
        """Who had logged a record of a compromised key before, if it is shown in the prefix."""
        if period.end is None:
            return frozenset()
        named = self._shown(record.identity, period.end)
        heads = self._heads[record.reference]
        # A head that is only smaller may be of whoever took the key (docs/protocol.md, 5.2).
        if not any((one.size, one.root) == named.get(record.epoch) for one in heads):
            self.report.leave(
                f"that {record.name} is in the prefix of the head that its key's revocation names",
                "no disclosed path leads to a checkpoint of exactly that head",
            )
            return frozenset()
        found: frozenset[PinnedValidator] = frozenset()
        for one in heads:
            inside = status_of(record.identity, one, one.key, named, before=True) == "prior"
            if inside and one.key == key:
                found |= self._before(period, one)
        if not found:
            self.report.leave(
                f"that {record.name} was logged before its key was revoked as compromised",
                "no receipt of an accepted validator shows it",
            )
        return found

    def _shown(self, identity: Identity, end: list[Any]) -> dict[bytes, tuple[int, bytes]]:
        """The named head and those that its epoch descends from, each shown by a path to it."""
        found: dict[bytes, tuple[int, bytes]] = {}
        named: Named | None = (end[0], end[1], end[2])
        while named is not None and named[0] not in found and len(found) <= EPOCHS_FOLLOWED_MAX:
            found[named[0]] = named[1:]
            first = self._first_under.get((identity.id, named))
            named = None if first is None else previous_of(first)
        return found

    def left(self, identity: Identity, period: KeyPeriod) -> Left:
        """The heads of the epochs that the end of a key descends from, as far as is shown."""
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
        if log is None:
            return False
        revoked = log.statements.get(record.identity.period(record.key).ended_by or b"")
        places = [log.statements.get(head.digest) for head in self._heads[record.reference]]
        shown = [at for at in places if at is not None]
        return revoked is not None and bool(shown) and revoked < min(shown)

    def add_fork(self, data: bytes) -> None:
        """One fork proof of the file; Unverified when it is none."""
        proof = forkproof.parse(data)
        what = f"fork of device {device_text(proof.device)}"
        identity = self.known.by_id.get(proof.device)
        if identity is None:
            self.report.leave(what, "no accepted credential of the device is in the file")
            return
        for head in proof.verify(identity):
            left = self.left(identity, identity.period(head.key.thumbprint()))
            if status_of(identity, head, head.key, left, before=False) == HEAD_SUSPECT:
                self.report.leave(what, "one of its heads is beyond the end of its key")
                return
        follows = "its key is suspect"
        if any(proves_nothing(identity, head) for head in (proof.first, proof.second)):
            follows = "its key is compromised, so that proves nothing against another one"
        else:
            self.forked.add(proof.device)
            self.report.prove(_fork(proof, identity))
        self.report.forks.append(proof)
        self.report.check(
            what,
            f"it signed two histories of one log, up to {proof.first.size} and to "
            f"{proof.second.size}; {follows}",
        )


def _fork(proof: ForkProof, identity: Identity) -> Proven:
    one, other = proof.first, proof.second
    root = other.root if proof.inside is None else proof.inside[0]
    epoch = b64u(proof.epoch)
    return Proven(
        "device fork",
        (identity.id,),
        (identity.id,),
        f"device {identity.text} of {identity.iss}",
        (
            f"it signed root {one.root[:6].hex()}\u2026 of epoch {epoch} at {one.size}",
            (
                f"it signed root {other.root[:6].hex()}\u2026 at {other.size}, whose tree has root "
                f"{root[:6].hex()}\u2026 at {one.size}"
            ),
        ),
        ("what put its memory back, or who else has its key", REVOKED),
        sha256(proof.encode()),
    )
