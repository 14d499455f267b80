"""Verdicts recomputed: what a validator found, from the claims that the file discloses."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice, product

from tallystick.evidence.claim import Claim
from tallystick.evidence.enrolment import CUSTODIES
from tallystick.evidence.entry import Closing, LoggedClaim
from tallystick.evidence.errors import Unverified
from tallystick.evidence.finding import Finding, FindingClaim, FindingOther
from tallystick.evidence.keys import b64u, device_text
from tallystick.evidence.profile import Profile
from tallystick.evidence.statement import Statement
from tallystick.evidence.verdict import VerifiedVerdict
from tallystick.verify._logs import Log, Logs
from tallystick.verify._statements import Statements
from tallystick.verify.inputs import SKEW_MS_MAX, KnownClaim, PartySetInputs, SetKey, TimeEvidence
from tallystick.verify.partysets import Book
from tallystick.verify.reconcile import UNKNOWN, find
from tallystick.verify.report import PinnedValidator, Record, Report

# Several silent devices with several pieces of evidence each: how many combinations are tried.
COMBINATIONS_MAX = 64


class Recomputer:
    """Puts a verdict's inputs together from what is disclosed, and runs the engine on them."""

    def __init__(
        self,
        records: dict[bytes, Record],
        book: Book,
        logs: Logs,
        statements: Statements,
        report: Report,
    ) -> None:
        self.records = records
        self.book = book
        self.statements = statements
        self.report = report
        self.logged: dict[bytes, LoggedClaim] = {}
        for log in logs.by_validator.values():
            for _, entry in log.entries.values():
                if isinstance(entry, LoggedClaim):
                    self.logged[entry.reference()] = entry

    def recompute(
        self, validator: PinnedValidator, verdict: VerifiedVerdict
    ) -> tuple[str | None, list[TimeEvidence]]:
        """Why it is not known whether the finding comes out the same to the byte; None: it does.

        Beside it the time evidence that made it so.

        Unverified("tampered") when equal inputs give another finding: that proves a faulty
        validator.
        """
        finding = verdict.finding
        profile = self.report.profiles.get(finding.profile)
        if any(check.check == "profile" for check in finding.checks):
            # The validator could not read the profile, so it did not use it.
            profile = None
        elif profile is None:
            return "its profile is not in the file", []
        claims: list[KnownClaim] = []
        for row in finding.claims:
            known = self._claim(row.claim, readable=row.name != UNKNOWN)
            if known is None:
                return f"its claim {b64u(row.claim)} is not disclosed", []
            record = self.records.get(row.claim)
            if record is not None and (why := _held_otherwise(record, row)) is not None:
                return why, []
            claims.append(known._replace(status=row.status, custody=row.custody))
        others: list[KnownClaim] = []
        for beside in finding.others:
            record = self.records.get(beside.claim)
            if record is None or not isinstance(record.body, Claim):
                return f"the claim {b64u(beside.claim)} that it used is not disclosed", []
            if (why := _held_otherwise(record, beside)) is not None:
                return why, []
            known = _known(record, readable=True)
            others.append(known._replace(status=beside.status, custody=beside.custody))
        for silence in self._silences(finding):
            found = self._find(finding, profile, claims, others, silence)
            if found is None:
                continue
            if found.encode() == finding.encode():
                return None, silence
            if found.inputs == finding.inputs:
                raise Unverified(
                    "tampered",
                    f"the verdict of validator {validator.name} is not what its own inputs give: "
                    f"it says {finding.state}, they give {found.state}",
                )
        return "the file does not disclose the same inputs", []

    def beside(self, unsaid: Iterable[SetKey]) -> list[SetKey]:
        """Of the sets without a verdict, those that are shown for the sake of other verdicts."""
        used = {row.claim for _, said, _ in self.statements.verdicts for row in said.finding.others}
        return [
            key
            for key in unsaid
            if key in self.book.sets and self.book.sets[key].claims.keys() <= used
        ]

    def overtaken(self, verdict: VerifiedVerdict, silence: list[TimeEvidence]) -> str | None:
        """Why a verdict does not cover what the file discloses on its party set; None: it does.

        Whoever hands a file over must not choose an older verdict than the claims beside it.
        """
        finding = verdict.finding
        profile = self.report.profiles.get(finding.profile)
        key = SetKey(finding.namespace, finding.interaction, finding.profile, finding.party_set())
        if profile is None or key not in self.book.sets:
            return None
        shown = self.book.inputs(key)
        told = {row.claim: row.status for row in finding.claims}
        told |= {row.claim: row.status for row in finding.others}
        claims, others = (
            [known._replace(status=told.get(known.reference, known.status)) for known in some]
            for some in (shown.claims, shown.others)
        )
        if {row.claim for row in finding.claims} - {known.reference for known in claims}:
            return None  # it read more than the file shows, so it was not recomputed either
        found = self._find(finding, profile, claims, others, silence)
        if found is None or found.state == finding.state:
            return None
        return f"with all claims that the file discloses it would be {found.state}"

    @staticmethod
    def _find(
        finding: Finding,
        profile: Profile | None,
        claims: list[KnownClaim],
        others: list[KnownClaim],
        silence: list[TimeEvidence],
    ) -> Finding | None:
        if profile is None and all(known.claim is None for known in claims):
            return None
        return find(
            PartySetInputs(
                profile,
                finding.namespace,
                finding.interaction,
                finding.parties,
                claims,
                others,
                closed=bool(finding.missing),
                silence=silence,
            )
        )

    def _claim(self, reference: bytes, *, readable: bool) -> KnownClaim | None:
        record = self.records.get(reference)
        if record is not None and isinstance(record.body, Claim):
            return _known(record, readable=readable)
        entry = self.logged.get(reference)
        if entry is None or readable:
            return None
        return KnownClaim(
            reference, entry.device, entry.epoch, entry.index, entry.leaf, None, "active", 0
        )

    def _silences(self, finding: Finding) -> list[list[TimeEvidence]]:
        # A finding names its inputs by their digest only. It says which claims it used; which time
        # evidence made a device silent it does not.
        silent = sorted({row.device for row in finding.missing if row.absence == "silent"})
        choices = [self.statements.silence(device) for device in silent]
        return [list(some) for some in islice(product(*choices), COMBINATIONS_MAX)]


def _known(record: Record, *, readable: bool) -> KnownClaim:
    claim = record.body if readable and isinstance(record.body, Claim) else None
    return KnownClaim(
        record.reference,
        record.device,
        record.epoch,
        record.index,
        record.leaf,
        claim,
        record.status,
        record.custody,
    )


def _held_otherwise(record: Record, row: FindingClaim | FindingOther) -> str | None:
    # A suspect key's custody does not matter, and a validator may not know its root.
    if row.custody == record.custody or (row.status == "suspect" and row.custody < record.custody):
        return None
    return (
        f"it counts the key of {record.name} as held in {CUSTODIES[row.custody]}, and by the "
        f"evidence in its enrolment it is {CUSTODIES[record.custody]}"
    )


def check_closing(
    finding: Finding,
    silence: list[TimeEvidence],
    log: Log,
    profile: Profile | None,
    report: Report,
) -> None:
    """That a validator closed the party set in time, by the log times that the file shows."""
    if not finding.missing:
        return
    name = log.validator.name
    what = f"closing by validator {name}"
    wanted = (finding.namespace, finding.interaction, finding.party_set())
    for index, (_, entry) in log.entries.items():
        if not isinstance(entry, Closing):
            continue
        if (entry.namespace, entry.interaction, entry.party_set) != wanted:
            continue
        if profile is not None and entry.deadline_ms != profile.deadline_ms:
            raise Unverified("tampered", f"the {what} has another deadline than the profile")
        least, most = log.times(index)
        first_least, first_most = log.times(entry.first)
        if most is not None and most < first_least + entry.deadline_ms:
            raise Unverified("tampered", f"the {what} came before its deadline")
        if first_most is not None and least >= first_most + entry.deadline_ms:
            report.check(what, f"entry {index}, after the deadline by its own log times")
        else:
            report.leave(what, "the log times around the first claim and it are not all shown")
        for one in silence:
            _check_silence(one, first_least, first_most, entry.deadline_ms, report)
            _check_dated(one, log, report)
        return
    report.leave(what, "it is not in the file, so whether the deadline had passed is its word")


def _check_silence(
    evidence: TimeEvidence,
    first_least: int,
    first_most: int | None,
    deadline_ms: int,
    report: Report,
) -> None:
    device = device_text(evidence.device)
    if evidence.time_ms <= first_least + deadline_ms:
        raise Unverified("tampered", f"the silence of device {device} is dated before the deadline")
    what = f"silence of device {device}"
    if first_most is not None and evidence.time_ms > first_most + deadline_ms:
        report.check(what, "its checkpoint names a custody receipt dated after the deadline")
    else:
        report.leave(what, "the log times around the first claim are not all shown")
    report.leave(
        f"that all claims of device {device} were looked at",
        "the validator says so; its log shows it to who reads all of it",
    )


def _check_dated(evidence: TimeEvidence, log: Log, report: Report) -> None:
    # A gateway that dates its receipts ahead must not make its device look silent.
    device = device_text(evidence.device)
    for index, (_, entry) in log.entries.items():
        if isinstance(entry, Statement) and entry.digest == evidence.checkpoint:
            least, most = log.times(index)
            if most is not None and evidence.time_ms > most + SKEW_MS_MAX:
                raise Unverified(
                    "tampered",
                    f"the silence of device {device} is dated later than it was logged",
                )
            if evidence.time_ms <= least + SKEW_MS_MAX:
                return
    report.leave(
        f"that the silence of device {device} is not dated ahead",
        "the log time of the checkpoint that shows it is not shown",
    )
