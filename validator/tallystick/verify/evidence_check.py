"""Checking an evidence file, fully offline (docs/protocol.md, section 7; docs/policy.md).

Every signature, proof and binding in the file is checked or listed as not checked.  What does not
hold raises; what cannot be decided is listed.  The file carries no trust of its own.
"""

from __future__ import annotations

from tallystick.evidence.cbor import encode
from tallystick.evidence.checkpoint import VerifiedCheckpoint
from tallystick.evidence.claim import Claim
from tallystick.evidence.entry import LoggedClaim
from tallystick.evidence.errors import CouldNotCheck, Malformed, Unverified
from tallystick.evidence.event import Event
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.evidencefile import parse as parse_file
from tallystick.evidence.half import Half
from tallystick.evidence.keys import b64u, device_text
from tallystick.evidence.number import Dec, from_scaled, to_text
from tallystick.evidence.profile import Profile
from tallystick.evidence.proof import verify_inclusion
from tallystick.evidence.statement import Statement
from tallystick.evidence.verdict import VerifiedVerdict
from tallystick.verify._identities import Identities
from tallystick.verify._keyends import KeyEnds
from tallystick.verify._logs import Logs
from tallystick.verify._misbehaviour import Misbehaviour
from tallystick.verify._statements import Statements
from tallystick.verify._text import printable
from tallystick.verify._verdicts import Recomputer, check_closing
from tallystick.verify.disclosure import verify_disclosure
from tallystick.verify.inputs import GOOD_STATUSES, KnownClaim, SetKey
from tallystick.verify.partysets import Book, set_key
from tallystick.verify.policy import Policy
from tallystick.verify.reconcile import find
from tallystick.verify.report import CheckedSet, PinnedValidator, Record, Report, Said
from tallystick.verify.statedtimes import StatedTimes

Disclosed = tuple[Record, VerifiedCheckpoint]


def load_evidence(data: bytes) -> EvidenceFile:
    """The evidence file in these bytes; Malformed when they are none.  Nothing is verified yet."""
    # An array of three whose first is kind 22: said plainly, because any file may be given.
    if data[:2] != b"\x83\x16":
        raise Malformed("unknown-kind", "this is no evidence file")
    return parse_file(data)


def check(evidence: EvidenceFile, policy: Policy, at_s: int | None = None) -> Report:
    """Check a file and demand the policy.

    `at_s` is the time of asking, in seconds since 1970; without it, what depends on the present
    is listed as not checked.  Malformed or Unverified when the file does not hold together,
    Unverified("bad-policy") when it does and is not enough.
    """
    report = check_evidence(evidence, policy, at_s)
    policy.demand(report, at_s)
    return report


def check_evidence(evidence: EvidenceFile, policy: Policy, at_s: int | None = None) -> Report:
    """As `check`, without the policy's demands; its roots and validators are what is trusted."""
    return _Checking(evidence, policy, at_s).report


class _Checking:
    # One pass over the sections, in the order in which they depend on each other.

    def __init__(self, evidence: EvidenceFile, policy: Policy, at_s: int | None) -> None:
        self.evidence = evidence
        self.policy = policy
        self.at_s = at_s
        self.report = report = Report(note=evidence.note)
        self.known = Identities(policy.trust, report)
        self.logs = Logs(self.known, report)
        self.statements = Statements(self.known, self.logs, report)
        self.ends = KeyEnds(self.known, self.logs, report)
        self.records: dict[bytes, Record] = {}
        self.book = Book()
        for credential in evidence.credentials:
            self.known.add(credential)
        for data in evidence.profiles:
            self.statements.add_profile(data)
        self._entries()
        for text in evidence.notes:
            self.logs.add_note(text)
        self._sizes()
        for data in evidence.custody:
            self.statements.add_custody(data)
        for data in evidence.heads:
            self.statements.add_head(data)
        disclosed = [one for half in evidence.halves if (one := self._half(half)) is not None]
        for data in evidence.forks:
            self.ends.add_fork(data)
        proofs = Misbehaviour(self.known, self.logs, self.ends, evidence.halves, report)
        for data in evidence.proofs:
            proofs.add(data)
        for record, head in _smallest_first(disclosed):
            self._record(record, head)
        self._logged_claims()
        self._firmware()
        self._validity()
        self._verdicts()
        self._times()
        self._remarks()

    def _entries(self) -> None:
        entries = [
            (data, self.logs.add(data, receipts)) for data, receipts in self.evidence.entries
        ]
        for data, entry in entries:
            if isinstance(entry, Statement):
                self.statements.add(data, entry)
            elif data not in self.logs.places:
                self.report.leave(
                    "an unsigned log entry", "no receipt of an accepted validator covers it"
                )

    def _sizes(self) -> None:
        # A receipt binds size and index to the root by its path alone (evidence/receipt.py).
        for log in self.logs.by_validator.values():
            if log.roots.keys() - log.noted:
                self.report.leave(
                    f"sizes of the log of validator {log.validator.name}",
                    "no signed log checkpoint of every receipt's size is in the file",
                )

    def _half(self, half: Half) -> Disclosed | None:
        try:
            record, checkpoint = verify_disclosure(half, self.known)
        except (CouldNotCheck, Unverified) as error:
            if not isinstance(error, CouldNotCheck) and error.reason != "not-enrolled":
                raise
            what, why = f"disclosed record at index {half.index}", error.message
            if error.reason == "unknown-device":
                why = "no root of the policy enrolled its device, by the credentials in the file"
            self.report.unverified_records.append((what, why))
            self.report.leave(what, why)
            return None
        self.ends.opened(record, checkpoint)
        return record, checkpoint

    def _record(self, record: Record, checkpoint: VerifiedCheckpoint) -> None:
        self.ends.judge(record, checkpoint)
        known_record = self.records.get(record.reference)
        if known_record is None:
            self.report.records.append(record)
            self.records[record.reference] = record
        else:
            # Disclosed twice, under two checkpoints: it is one record, and the better one counts.
            if known_record.status not in GOOD_STATUSES:
                known_record.status, known_record.boot = record.status, record.boot
                known_record.key, known_record.held = record.key, record.held
                known_record.prior = record.prior
            record = known_record
        self.statements.checkpoints.setdefault(checkpoint.digest, checkpoint)
        self.report.check(
            record.name, f"under a checkpoint that its device signed; key {record.status}"
        )
        for subject in (checkpoint.digest, record.reference):
            for validator, at_s in self.logs.logged_s.get(subject, {}).items():
                record.logged_s[validator] = min(at_s, record.logged_s.get(validator, at_s))
        if isinstance(record.body, Claim):
            known = KnownClaim(
                record.reference,
                record.device,
                record.epoch,
                record.index,
                record.leaf,
                record.body,
                record.status,
                record.custody,
            )
            self.book.add(known, 0, 0)

    def _logged_claims(self) -> None:
        for log in self.logs.by_validator.values():
            for index, (_, entry) in sorted(log.entries.items()):
                if not isinstance(entry, LoggedClaim):
                    continue
                what = f"logged claim at {index} of validator {log.validator.name}"
                _, checkpoint = log.entries.get(entry.checkpoint, (b"", None))
                if checkpoint is None or entry.checkpoint >= index:
                    self.report.leave(what, "the checkpoint that its path leads to is not shown")
                    continue
                shown = isinstance(checkpoint, Statement) and self.statements.checkpoints.get(
                    checkpoint.digest
                )
                if not shown:
                    self.report.leave(what, "the checkpoint that it names was not verified")
                    continue
                if shown.device != entry.device or shown.epoch != entry.epoch:
                    raise Unverified("tampered", f"the {what} names a checkpoint of another log")
                verify_inclusion(entry.leaf, entry.index, shown.size, entry.path, shown.root)
                self.report.check(what, "its path leads to the device's logged checkpoint")
                self.statements.erasures.disclose(entry, shown, self.logs, self.ends)

    def _firmware(self) -> None:
        # The boot event of the checkpoint's own boot count, not after the record, in the same log.
        boots: dict[tuple[bytes, bytes, object], tuple[int, object]] = {}
        for record in self.report.records:
            if isinstance(record.body, Event) and record.body.event == "boot":
                key = (record.device, record.epoch, record.body.details.get("boot"))
                boots[key] = (record.index, record.body.details.get("firmware"))
        for record in self.report.records:
            index, firmware = boots.get((record.device, record.epoch, record.boot), (0, None))
            if isinstance(firmware, bytes) and index <= record.index:
                record.firmware = firmware

    def _validity(self) -> None:
        for record in self.report.records:
            at_s = min(record.logged_s.values(), default=self.at_s)
            what = f"validity of the enrolment of device {device_text(record.device)}"
            if at_s is None:
                self.report.leave(what, "no receipt says when the record was logged")
                continue
            record.identity.enrolment.check_time(at_s)

    def _verdicts(self) -> None:
        for profile in self.report.profiles.values():
            self.book.add_profile(profile)
        recomputer = Recomputer(self.records, self.book, self.logs, self.statements, self.report)
        sets: dict[SetKey, CheckedSet] = {}
        for key, party_set in self.book.sets.items():
            claims = [known.claim for known in party_set.claims.values() if known.claim is not None]
            sets[key] = self._set(key, dict(party_set.parties))
            sets[key].claims = claims
            sets[key].name = self._name(key, claims[0])
        newest: dict[tuple[SetKey, object], Said] = {}
        for validator, verdict, data in self.statements.verdicts:
            finding = verdict.finding
            key = SetKey(
                finding.namespace, finding.interaction, finding.profile, finding.party_set()
            )
            if key not in sets:
                sets[key] = self._set(key, finding.parties)
            logged = validator in self.logs.places.get(data, {})
            what = f"finding of validator {validator.name} on {sets[key].name}"
            why, silence = recomputer.recompute(validator, verdict)
            if why is None:
                self.report.check(what, f"{finding.state}, recomputed to the byte")
            else:
                self.report.leave(what, why)
            if not logged:
                self.report.leave(f"that the {what} is logged", "no receipt of its log covers it")
            if verdict.uninvited:
                self.report.leave(
                    f"uninvited party sets beside {sets[key].name}",
                    f"validator {validator.name} lists {len(verdict.uninvited)}",
                )
            used = self.report.profiles.get(finding.profile)
            check_closing(finding, silence, self.logs.log(validator), used, self.report)
            outdated = recomputer.overtaken(verdict, silence)
            if outdated is not None:
                self.report.leave(f"that the {what} still holds", outdated)
            late = self._late(validator, verdict)
            if late is not None:
                self.report.leave(f"that the {what} counts", late)
            said = Said(
                validator, verdict, logged, why is None, outdated is not None, late is not None
            )
            known = newest.get((key, validator))
            if known is None or _age(known) < _age(said):
                newest[key, validator] = said
        for (key, _), said in newest.items():
            sets[key].said.append(said)
        self._conclude(sets, recomputer)

    def _conclude(self, sets: dict[SetKey, CheckedSet], recomputer: Recomputer) -> None:
        for key in recomputer.beside(key for key, checked in sets.items() if not checked.said):
            self.report.beside.append(sets.pop(key))
            self.report.leave(
                f"what became of {self.report.beside[-1].name}",
                "the file shows only claims of it that a verdict on another interaction used",
            )
        for key, checked in sets.items():
            if all(said.outdated for said in checked.said) and key in self.book.sets:
                checked.own = find(self.book.inputs(key))
            self._tolerances(key.profile, checked)
        self.report.party_sets = list(sets.values())

    def _late(self, validator: PinnedValidator, verdict: VerifiedVerdict) -> str | None:
        """Why a verdict says less than others: it heard of a claim after its key's revocation."""
        late = None
        for row in verdict.finding.claims:
            record = self.records.get(row.claim)
            if record is None or row.status not in {"prior", "compromised"}:
                continue
            said = f"{record.name}: validator {validator.name}"
            if row.status == "prior" and validator not in record.prior:
                if self.ends.wrongly_prior(record, validator):
                    raise Unverified(
                        "tampered", f"{said} had logged the revocation before what it calls prior"
                    )
                self.report.leave(said, "no receipt shows that it had logged it before")
            if (
                row.status == "compromised"
                and verdict.finding.state == "insufficient"
                and record.prior
                and validator not in record.prior
            ):
                late = "others had logged what it heard after the revocation of the key"
        return late

    def _set(self, key: SetKey, parties: dict[str, list[bytes]]) -> CheckedSet:
        name = self._name(key, None)
        return CheckedSet(key.namespace, key.interaction, key.profile, parties, name)

    def _name(self, key: SetKey, claim: Claim | None) -> str:
        profile = self.report.profiles.get(key.profile)
        kind = f"{profile.name}@{profile.version}" if profile is not None else "interaction"
        task = claim.interaction if claim is not None else key.interaction
        text = task if isinstance(task, str) else b64u(task)
        return printable(f"{kind} {text} in {key.namespace}")

    def _tolerances(self, digest: bytes, checked: CheckedSet) -> None:
        profile = self.report.profiles.get(digest)
        if profile is None:
            self.report.leave(
                f"tolerances of {checked.name}", f"its profile {b64u(digest)} is not in the file"
            )
            return
        for line in tolerances(profile):
            if line not in self.report.tolerances:
                self.report.tolerances.append(line)

    def _times(self) -> None:
        said_by, heads = self.statements.gateways, self.statements.checkpoints.values()
        custody = {at: (one, said_by[at]) for at, one in self.statements.custody.items()}
        times = StatedTimes(self.policy, self.known.by_id, heads, custody, self.logs.logged_s)
        by_set: dict[SetKey, list[str]] = {}
        for record, claim in self.report.bodies(Claim):
            said = times.claim(record, self.report.profiles.get(claim.profile))
            if said is not None:
                by_set.setdefault(set_key(claim), []).append(said)
        for checked in self.report.party_sets:
            for claim in checked.claims[:1]:
                checked.refuted += by_set.get(set_key(claim), [])
        self.report.refuted_times, self.report.doubted_times = times.refuted, times.doubted

    def _remarks(self) -> None:
        if self.evidence.note is not None:
            self.report.leave("the note for people", "it is signed by nobody")
        self.report.leave(
            "whether there are newer verdicts or key changes", "only the validators can tell"
        )
        self.report.leave(
            "whether the claims are true", "that they agree does not show it; parties may collude"
        )


def _smallest_first(disclosed: list[Disclosed]) -> list[Disclosed]:
    # In the file's order; of one record's checkpoints the smallest tells the boot of the record.
    places: dict[bytes, int] = {}
    for record, _ in disclosed:
        places.setdefault(record.reference, len(places))
    return sorted(disclosed, key=lambda one: (places[one[0].reference], one[1].size))


def tolerances(profile: Profile) -> list[str]:
    """Every check of a profile with all its parameters, one line each."""
    name = f"{printable(profile.name)}@{profile.version}"
    lines = [f"{name} deadline: {to_text(from_ms(profile.deadline_ms))} s"]
    for kind, check_name, parameters in map(list, profile.checks):
        shown = ", ".join(f"{key} {_plain(value)}" for key, value in sorted(parameters.items()))
        lines.append(f"{name} {printable(check_name)} ({kind}): {printable(shown, 400)}")
    return lines


def from_ms(milliseconds: int) -> int | Dec:
    """Seconds, exactly."""
    return from_scaled(milliseconds, -3)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (Dec, int)):
        return to_text(value)
    if isinstance(value, list):
        return " ".join(_plain(item) for item in value)
    return value if isinstance(value, str) else encode(value).hex()


def _age(said: Said) -> tuple[int, int, bytes]:
    # The log size that a verdict read orders the verdicts of one validator.
    return said.verdict.size, said.verdict.time_ms, said.verdict.digest
