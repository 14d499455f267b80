"""Records whose bodies were erased: who made them, where, when, on whose word they went.

A logged claim shows a record's place and leaf under its maker's signed checkpoint; an erasure shows
that its body went (docs/protocol.md, 6.6).  Together they are a record without content.
"""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.evidence import erasure, keycustody
from tallystick.evidence.checkpoint import VerifiedCheckpoint
from tallystick.evidence.entry import LoggedClaim
from tallystick.evidence.erasure import REQUEST, VerifiedErasure
from tallystick.evidence.keys import device_text
from tallystick.evidence.kinds import CLAIM
from tallystick.verify._identities import Identities
from tallystick.verify._keyends import KeyEnds
from tallystick.verify._logs import Logs
from tallystick.verify.report import PinnedValidator, Record, Report


@dataclass(frozen=True)
class Erased:
    """The body of a record that was erased: what said so, and which validator if it did."""

    erasure: VerifiedErasure
    validator: PinnedValidator | None


class Erasures:
    """The file's erasures, each verified against whoever had to sign it."""

    def __init__(self, known: Identities, report: Report) -> None:
        self._known = known
        self._report = report
        self._found: list[tuple[bytes, Erased]] = []

    def add(self, data: bytes) -> None:
        """An erasure among the log entries."""
        received = erasure.parse(data)
        statement = received.received()
        what = f"erasure of bodies of device {device_text(statement.device or b'')}"
        if received.cause == REQUEST:
            root = self._known.root_of(statement)
            if root is None:
                self._report.leave(what, "the policy accepts no fleet root of this name")
                return
            self._found.append((data, Erased(received.verify(root), None)))
            self._report.check(what, f"ordered by the root of fleet {statement.iss}")
            return
        found = self._known.validator(statement.kid, statement.iss)
        if found is None:
            self._report.leave(what, "the policy accepts no validator with this key")
            return
        self._found.append((data, Erased(received.verify(found.key), found.validator)))
        self._report.check(what, f"by the retention of validator {found.validator.name}")

    def of(self, claim: LoggedClaim, logs: Logs) -> Erased | None:
        """What says that this claim's body went: its own fleet, or a validator, in a log."""
        for data, one in self._found:
            if data not in logs.places:
                continue  # an order that no validator logged erased nothing
            made = one.erasure
            statement = made.received()
            if (statement.device, made.epoch) != (claim.device, claim.epoch):
                continue
            identity = self._known.by_id.get(claim.device)
            own = identity is not None and identity.iss == statement.iss
            if made.covers(claim.index, CLAIM) and (own or one.validator is not None):
                return one
        return None

    def disclose(
        self, claim: LoggedClaim, head: VerifiedCheckpoint, logs: Logs, ends: KeyEnds
    ) -> None:
        """A record without content, where the claim's path to `head` was verified."""
        gone = self.of(claim, logs)
        identity = self._known.by_id.get(claim.device)
        if gone is None or identity is None:
            return
        key = identity.own_key_of(head)
        record = Record(
            device=claim.device,
            epoch=claim.epoch,
            index=claim.index,
            leaf=claim.leaf,
            reference=claim.reference(),
            boot=head.boot,
            status=identity.status_at(head, key),
            key=key.thumbprint(),
            held=keycustody.of_key(identity, key.thumbprint()),
            identity=identity,
            body=gone,
        )
        if any(known.reference == record.reference for known in self._report.records):
            return
        ends.opened(record, head)
        ends.judge(record, head)
        for subject in (head.digest, record.reference):
            for validator, at_s in logs.logged_s.get(subject, {}).items():
                record.logged_s[validator] = min(at_s, record.logged_s.get(validator, at_s))
        self._report.records.append(record)
        self._report.check(
            record.name,
            f"its body was erased; its hash is under a signed checkpoint; key {record.status}",
        )
        self._report.leave(f"what {record.name} says", _why(gone))


def _why(gone: Erased) -> str:
    if gone.validator is not None:
        return f"its body was erased by the retention of validator {gone.validator.name}"
    return f"its body was erased on the order of fleet {gone.erasure.received().iss}"
