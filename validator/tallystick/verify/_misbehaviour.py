"""Proofs of misbehaviour in an evidence file (docs/protocol.md, 9): who signed, and what follows.

A proof holds by itself when it is parsed.  Here every signature in it is checked with keys that the
policy accepts; what proves nothing is listed, and what is no proof raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import claim as claims
from tallystick.evidence import misbehaviour
from tallystick.evidence._proofs import Proof, nothing
from tallystick.evidence.checkpoint import Checkpoint, VerifiedCheckpoint
from tallystick.evidence.credential import Identity
from tallystick.evidence.deviceproofs import ON_ITS_WAY_MS_MAX, Disorder, Missed, Revived
from tallystick.evidence.entry import parse_entry
from tallystick.evidence.errors import CouldNotCheck
from tallystick.evidence.finding import ClaimInput
from tallystick.evidence.half import Half
from tallystick.evidence.headproofs import Equivocation, TwoStories
from tallystick.evidence.keys import b64u, device_text
from tallystick.evidence.note import Note, NoteKey
from tallystick.evidence.verdict import Verdict
from tallystick.evidence.verdictproofs import (
    Baseless,
    Disagreement,
    FalseVerdict,
    Ignored,
    Premature,
    Unlogged,
    decided,
)
from tallystick.verify._identities import Identities, ValidatorKey, doubt
from tallystick.verify._keyends import KeyEnds
from tallystick.verify._logs import Logs, entry_name
from tallystick.verify._proofwords import (
    by_reference,
    closing_says,
    differing,
    head_says,
    inside,
    proven,
    short,
    verdict_says,
)
from tallystick.verify._text import printable, utc
from tallystick.verify.inputs import KnownClaim, PartySetInputs, TimeEvidence
from tallystick.verify.reconcile import find
from tallystick.verify.report import PinnedValidator, Proven, Report
from tallystick.verify.standing import HEAD_SUSPECT, proves_nothing, status_of


class Misbehaviour:
    """Checks the proofs of one file; what holds goes to `report.proven`."""

    def __init__(
        self,
        known: Identities,
        logs: Logs,
        ends: KeyEnds,
        halves: Iterable[Half],
        report: Report,
    ) -> None:
        self.known = known
        self.logs = logs
        self.ends = ends
        self.report = report
        self._bodies = by_reference(halves)
        self._by_type: dict[type[Proof], Callable[[Any], Proven]] = {
            Disorder: self._disorder,
            Revived: self._revived,
            TwoStories: self._two_stories,
            Missed: self._missed,
            Equivocation: self._equivocation,
            FalseVerdict: self._false_verdict,
            Unlogged: self._unlogged,
            Ignored: self._ignored,
            Baseless: self._baseless,
            Disagreement: self._disagreement,
            Premature: self._premature,
        }

    def add(self, data: bytes) -> None:
        """One proof of the file; Malformed or Unverified when it is none."""
        proof = misbehaviour.parse(data)
        try:
            found = self._by_type[type(proof)](proof)
        except CouldNotCheck as error:
            self.report.leave(f"proof of misbehaviour: {proof.NAME}", error.message)
            return
        self.report.prove(found)

    # --- devices ---------------------------------------------------------------------------

    def _device(self, id_: bytes) -> Identity:
        identity = self.known.by_id.get(id_)
        if identity is None:
            raise _left(f"no accepted credential of {device_text(id_)} is in the file")
        return identity

    def _signed(self, identity: Identity, head: Checkpoint) -> VerifiedCheckpoint:
        verified = head.verify(identity.own_key_of(head))
        if proves_nothing(identity, head):
            raise _left("a key of it is revoked as compromised, so whoever took it may have signed")
        left = self.ends.left(identity, identity.period(verified.key.thumbprint()))
        if status_of(identity, head, verified.key, left, before=False) == HEAD_SUSPECT:
            raise _left("one of its heads is beyond the end of its key")
        return verified

    def _disorder(self, proof: Disorder) -> Proven:
        identity = self._device(proof.device)
        first, second = (self._signed(identity, head) for head in proof.heads)
        if proof.only_counter and first.key != second.key:
            raise _left("only the hardware counter falls, and two keys may be in two chips")
        self.ends.forked.add(identity.id)
        return proven(
            proof,
            [identity.id],
            f"device {identity.text} of {identity.iss}",
            (head_says(first), head_says(second)),
            "what put its memory back, or who else has its key",
        )

    def _revived(self, proof: Revived) -> Proven:
        identity = self._device(proof.device)
        head, *opened = [self._signed(identity, one) for one in proof.heads]
        last = opened[-1]
        if proof.receipt is None:
            if head.key != last.key:
                raise _left("two keys signed, and each may count in a chip of its own")
            how = f"and its counter stood at {last.counter} when epoch {b64u(last.epoch)} began"
        else:
            how = (
                f"and that names a custody receipt over epoch {b64u(last.epoch)}, which came after"
            )
        self.ends.forked.add(identity.id)
        return proven(
            proof,
            [identity.id],
            f"device {identity.text} of {identity.iss}",
            (head_says(head), f"it had left that epoch before, {how}"),
            "what put its memory back, or who else has its key",
        )

    def _missed(self, proof: Missed) -> Proven:
        identity = self._device(proof.device)
        name, key = self._note(proof.extract.note)
        self._signed(identity, proof.head)
        interval_ms = identity.enrolment.interval_s * 1000
        first_s, last_s = identity.enrolment.validity
        gap_ms = proof.end_ms - proof.begin_ms
        if gap_ms <= interval_ms + ON_ITS_WAY_MS_MAX:
            raise nothing("the next head may still have been on its way")
        if proof.pause_ms > interval_ms:
            raise nothing("the validator itself was not there to hear, for longer than an interval")
        if not first_s * 1000 <= proof.begin_ms <= proof.end_ms <= last_s * 1000:
            raise nothing("the enrolment was not valid all the time")
        if self._changed(identity, proof.begin_ms, proof.end_ms):
            raise nothing("its key had changed or ended by then")
        return proven(
            proof,
            [],
            f"device {identity.text} of {identity.iss}, or whatever is between it and the log "
            f"of validator {name}",
            (
                f"its enrolment promises a head at least every {interval_ms // 1000} s",
                (
                    f"the log of validator {name} has none between {utc(proof.begin_ms)} and "
                    f"{utc(proof.end_ms)}, for {gap_ms // 1000} s"
                ),
            ),
            "who kept it back: the device, its gateway, the line between, or the validator",
            "whether the device was on duty",
            about=(identity.id, key.validator.key),
        )

    def _changed(self, identity: Identity, begin_ms: int, end_ms: int) -> bool:
        ended = {period.ended_by for period in identity.keys}
        changes = ((one, self.known.revoked_s.get(one, 0) * 1000) for one in identity.digests[1:])
        return any(
            at_ms <= end_ms and (one in ended or at_ms >= begin_ms - 1000) for one, at_ms in changes
        )

    # --- gateways and logs -----------------------------------------------------------------

    def _two_stories(self, proof: TwoStories) -> Proven:
        identity = self.known.gateway(proof.first)
        if identity is None:
            raise _left("no accepted credential of the gateway is in the file")
        for head in (proof.first, proof.second):
            key = identity.own_key_of(head)
            head.verify(key)
            why = doubt(identity, key, head.time_ms // 1000)
            if why is not None:
                raise _left(why)
        first, second = proof.first, proof.second
        return proven(
            proof,
            [identity.id],
            f"gateway {identity.text} of {identity.iss}",
            (
                (
                    f"at {utc(first.time_ms)} it signed root {short(first.root)} of its log at "
                    f"{first.size}"
                ),
                (
                    f"at {utc(second.time_ms)} it signed root {short(second.root)} at {second.size}"
                    f", whose tree has root {short(inside(proof))} at {first.size}"
                ),
            ),
            "what its two stories differ in",
        )

    def _equivocation(self, proof: Equivocation) -> Proven:
        name, key = self._note(proof.first)
        first, second = proof.first, proof.second
        if self._signer(first)[0] != self._signer(second)[0]:
            raise nothing("two keys signed: what one says, another cannot contradict")
        return proven(
            proof,
            [key.validator.key],
            f"validator {name}",
            (
                f"its log {printable(first.origin)} has root {short(first.root)} at {first.size}",
                (
                    f"the same log has root {short(second.root)} at {second.size}, whose tree has "
                    f"root {short(inside(proof))} at {first.size}"
                ),
            ),
            "which entries differ",
        )

    def _note(self, note: Note) -> tuple[str, ValidatorKey]:
        """The validator whose note key signed; its name, and its key that the policy accepts."""
        note_key, validator = self._signer(note)
        found = self.known.accepted(validator)
        pinned = any(one.note_key == note_key for one in self.known.trust.validators)
        if not pinned and found.compromised:
            # Whoever took its key can sign a genesis that names a note key of his own.
            raise _left("the validator's key is compromised, and its note key is not pinned")
        return printable(validator.name), found

    def _signer(self, note: Note) -> tuple[NoteKey, PinnedValidator]:
        """The note key of the log itself; another validator's signature says nothing of a log."""
        signers = {one[:2] for one in note.signatures}
        for note_key, validator in self.logs.note_keys.values():
            if note_key.name == note.origin and (note_key.name, note_key.key_id) in signers:
                note.verify(note_key)
                return note_key, validator
        raise _left("no note key of an accepted validator signed the log checkpoint")

    # --- validators ------------------------------------------------------------------------

    def _verdict(self, verdict: Verdict) -> ValidatorKey:
        found = self.known.validator(verdict.received().kid, verdict.iss)
        if found is None:
            raise _left("the policy accepts no validator with the key of a verdict")
        verdict.verify(found.key)
        why = found.doubt(verdict.time_ms // 1000)
        if why is not None:
            raise _left(why)
        return found

    def _own(self, found: ValidatorKey, note: Note) -> str:
        name, logged = self._note(note)
        if logged.validator != found.validator:
            raise nothing("the log is of another validator")
        return name

    def _false_verdict(self, proof: FalseVerdict) -> Proven:
        found = self._verdict(proof.verdict)
        finding, given = proof.verdict.finding, proof.inputs
        profile = self.report.profiles.get(given.profile)
        if profile is None:
            raise _left("the profile is not in the file")
        if any(check.check == "profile" for check in finding.checks):
            raise _left("the validator says that it cannot read the profile")
        right = find(
            PartySetInputs(
                profile,
                given.namespace,
                given.interaction,
                given.parties,
                [self._known(row) for row in given.claims],
                [self._known(row) for row in given.others],
                closed=bool(given.closed),
                silence=[TimeEvidence(*row) for row in given.times],
            )
        )
        if right.inputs != finding.inputs:
            raise _left("the rules do not take up all the inputs that the verdict names")
        if decided(right) == decided(finding):
            raise nothing("the verdict is what its inputs give")
        return proven(
            proof,
            [found.validator.key],
            f"validator {printable(found.validator.name)}",
            (
                verdict_says(proof.verdict),
                f"the inputs that it names give {right.state}{differing(right, finding)}",
            ),
            "that these inputs are what its log held",
        )

    def _known(self, row: ClaimInput) -> KnownClaim:
        epoch, index, body = bytes(8), 0, None
        if row.readable:
            half = self._bodies.get(row.claim)
            if half is None:
                raise _left(f"claim {b64u(row.claim)} is not disclosed in the file")
            head = checkpoints.parse(half.checkpoint)
            epoch, index, body = head.epoch, half.index, claims.parse(half.record)
        return KnownClaim(
            row.claim, row.device, epoch, index, row.leaf, body, row.status, row.custody
        )

    def _unlogged(self, proof: Unlogged) -> Proven:
        found = self.known.validator(proof.receipt.kid, proof.receipt.iss)
        if found is None:
            raise _left("the policy accepts no validator with the key of the receipt")
        proof.receipt.verify(proof.entry, found.key)
        why = found.doubt(proof.receipt.iat)
        if why is not None:
            raise _left(why)
        name = self._own(found, proof.extract.note)
        what = entry_name(parse_entry(proof.entry))
        return proven(
            proof,
            [found.validator.key],
            f"validator {name}",
            (
                f"at {utc(proof.receipt.iat * 1000)} it receipted {what}",
                f"its log at {proof.extract.note.size}, which is past that time, does not hold it",
            ),
            "what else its log lacks",
        )

    def _ignored(self, proof: Ignored) -> Proven:
        found = self._verdict(proof.verdict)
        name = self._own(found, proof.extract.note)
        claim = claims.parse(proof.half.record)
        which = printable(f"{claim.role} {claim.claim} by device {device_text(proof.head.device)}")
        return proven(
            proof,
            [found.validator.key],
            f"validator {name}",
            (
                (
                    f"{verdict_says(proof.verdict)}, on {proof.verdict.size} entries, and calls "
                    f"{which} missing"
                ),
                f"its log holds that claim at {proof.at}",
            ),
            "why it left the claim out",
        )

    def _baseless(self, proof: Baseless) -> Proven:
        found = self._verdict(proof.verdict)
        name = self._own(found, proof.extract.note)
        return proven(
            proof,
            [found.validator.key],
            f"validator {name}",
            (
                f"{verdict_says(proof.verdict)}, on claim {b64u(proof.claim)}",
                f"the {proof.verdict.size} entries of its log that it read do not hold that claim",
            ),
            "that the claim was never made",
        )

    def _disagreement(self, proof: Disagreement) -> Proven:
        first, second = (self._verdict(one) for one in (proof.first, proof.second))
        names = [printable(one.validator.name) for one in (first, second)]
        same = first.validator == second.validator
        return proven(
            proof,
            [first.validator.key] if same else [],
            f"validator {names[0]}" if same else f"validator {names[0]} or validator {names[1]}",
            (
                f"{names[0]}: {verdict_says(proof.first)}",
                f"{names[1]}, on equal inputs: {verdict_says(proof.second)}"
                + differing(proof.second.finding, proof.first.finding),
            ),
            "which of the two verdicts follows from the inputs",
            about=(first.validator.key, second.validator.key),
        )

    def _premature(self, proof: Premature) -> Proven:
        name, key = self._note(proof.extract.note)
        says = closing_says(proof)
        left = "that the deadline is the profile's"
        return proven(proof, [key.validator.key], f"validator {name}", says, left)


def _left(why: str) -> CouldNotCheck:
    return CouldNotCheck("wrong-key", why)
