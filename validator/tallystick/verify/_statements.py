"""Signed statements in an evidence file, each verified against whoever had to sign it."""

from __future__ import annotations

from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import custody as custody_receipts
from tallystick.evidence import gatewayhead, genesis, profile, registration, verdict
from tallystick.evidence.checkpoint import VerifiedCheckpoint
from tallystick.evidence.credential import Identity
from tallystick.evidence.custody import VerifiedCustodyReceipt
from tallystick.evidence.errors import Unverified
from tallystick.evidence.gatewayhead import VerifiedGatewayHead
from tallystick.evidence.keys import b64u, device_text
from tallystick.evidence.kinds import (
    CHECKPOINT,
    CUSTODY_RECEIPT,
    ENROLMENT,
    ERASURE,
    GENESIS,
    KEY_CHANGE,
    PROFILE,
    REGISTRATION_POLICY,
    VERDICT,
)
from tallystick.evidence.profile import Profile
from tallystick.evidence.statement import Statement
from tallystick.evidence.verdict import VerifiedVerdict
from tallystick.verify._erasures import Erasures
from tallystick.verify._identities import Identities, doubt
from tallystick.verify._logs import Logs, statement_kind
from tallystick.verify._text import printable
from tallystick.verify.inputs import TimeEvidence
from tallystick.verify.report import PinnedValidator, Report


class Statements:
    """What the file's statements came to: each is verified, left with a reason, or raises."""

    def __init__(self, known: Identities, logs: Logs, report: Report) -> None:
        self.known = known
        self.logs = logs
        self.report = report
        self.checkpoints: dict[bytes, VerifiedCheckpoint] = {}
        self.custody: dict[bytes, VerifiedCustodyReceipt] = {}
        self.gateways: dict[bytes, Identity] = {}  # who signed it, by a custody receipt's digest
        self.heads: dict[bytes, list[VerifiedGatewayHead]] = {}
        self.verdicts: list[tuple[PinnedValidator, VerifiedVerdict, bytes]] = []
        self.erasures = Erasures(known, report)
        self._by_kind = {
            CHECKPOINT: self._checkpoint,
            CUSTODY_RECEIPT: self.add_custody,
            GENESIS: self._genesis,
            PROFILE: self._profile,
            VERDICT: self._verdict,
            ERASURE: self.erasures.add,
            REGISTRATION_POLICY: self._policy,
        }

    def add(self, data: bytes, statement: Statement) -> None:
        """A statement among the log entries."""
        kind = statement_kind(statement)
        if kind in {ENROLMENT, KEY_CHANGE}:
            self._credential_part(statement)
        else:
            self._by_kind[kind](data)

    def add_profile(self, data: bytes) -> Profile:
        """A bare profile: its digest is its name, so nothing about it needs a signature."""
        parsed = profile.parse(data)
        self.report.profiles[parsed.digest] = parsed
        return parsed

    def _checkpoint(self, data: bytes) -> None:
        received = checkpoints.parse(data)
        what = f"checkpoint at {received.size} of device {device_text(received.device)}"
        identity = self.known.by_id.get(received.device)
        if identity is None:
            self.report.leave(what, "no accepted credential of the device is in the file")
            return
        verified = received.verify(identity.own_key_of(received))
        if verified.digest not in self.checkpoints:
            self.checkpoints[verified.digest] = verified
            self.report.check(what, "signed by the device's enrolled key")

    def add_custody(self, data: bytes) -> None:
        """A custody receipt."""
        received = custody_receipts.parse(data)
        what = f"custody receipt up to {received.to} of device {device_text(received.device)}"
        gateway = self.known.gateway(received)
        if gateway is None:
            self.report.leave(what, "no accepted credential of its gateway is in the file")
            return
        key = gateway.key_of(received)
        verified = received.verify(key)
        why = doubt(gateway, key, verified.time_ms // 1000)
        if why is not None:
            self.report.leave(what, f"it bounds no time: {why}")
        elif verified.digest not in self.custody:
            self.custody[verified.digest] = verified
            self.gateways[verified.digest] = gateway
            self.report.check(what, f"signed by gateway {gateway.text}")

    def add_head(self, data: bytes) -> None:
        """A gateway's signed head."""
        received = gatewayhead.parse(data)
        what = f"head at {received.size} of gateway {device_text(received.device)}"
        gateway = self.known.gateway(received)
        if gateway is None:
            self.report.leave(what, "no accepted credential of the gateway is in the file")
            return
        verified = received.verify(gateway.own_key_of(received))
        for other in self.heads.setdefault(gateway.id, []):
            if other.size == verified.size and other.root != verified.root:
                raise Unverified(
                    "gateway-fork", f"gateway {gateway.text} signed two roots of size {other.size}"
                )
        self.heads[gateway.id].append(verified)
        self.report.check(what, "signed by the gateway's enrolled key")
        if len({head.size for head in self.heads[gateway.id]}) == 2:
            self.report.leave(
                f"that the heads of gateway {gateway.text} extend one another",
                "a file holds no proof between gateway heads",
            )

    def _credential_part(self, statement: Statement) -> None:
        # Verified where it stands in a credential of the file; alone it has no context.
        what = f"logged statement on {printable(statement.sub)}"
        if statement.digest in self.known.statements:
            self.report.check(what, "part of a credential above")
        else:
            self.report.leave(what, "it is part of no credential in the file")

    def _genesis(self, data: bytes) -> None:
        received = genesis.parse(data)
        what = f"genesis of {received.iss}"
        found = self.known.validator(received.received().kid, received.iss)
        if found is None:
            self.report.leave(what, "the policy accepts no validator with this key")
            return
        verified = received.verify(found.key)
        log = self.logs.log(found.validator)
        if log.origin is not None and log.origin != verified.origin:
            raise log.fork("two origins")
        log.origin = verified.origin
        self.logs.note_keys.setdefault(
            verified.note_key.text(), (verified.note_key, found.validator)
        )
        self.report.check(what, "signed by the validator; it names its log's origin and note key")

    def _policy(self, data: bytes) -> None:
        received = registration.parse(data)
        what = f"registration policy of {received.iss}"
        found = self.known.validator(received.received().kid, received.iss)
        if found is None:
            self.report.leave(what, "the policy accepts no validator with this key")
            return
        received.received().verify(found.key)
        roots = ", ".join(name for name, _, _ in received.roots)
        self.report.check(what, f"signed by the validator; it admits what these enrolled: {roots}")

    def _profile(self, data: bytes) -> None:
        received = profile.parse_statement(data)
        what = f"profile {b64u(received.profile.digest)}"
        publisher = self.known.trust.publishers.get(received.iss)
        if publisher is not None:
            received.verify(publisher)
            self.report.published.setdefault(received.profile.digest, set()).add(received.iss)
            self.report.check(what, f"signed by publisher {received.iss}")
        else:
            found = self.known.validator(received.received().kid, received.iss)
            if found is None:
                self.report.leave(what, "the policy accepts no publisher of this name")
            else:
                received.verify(found.key)
                self.report.check(what, f"signed by validator {found.validator.name}")
        self.report.profiles[received.profile.digest] = received.profile

    def _verdict(self, data: bytes) -> None:
        received = verdict.parse(data)
        what = f"verdict of {received.iss} on interaction {received.sub}"
        found = self.known.validator(received.received().kid, received.iss)
        if found is None:
            self.report.leave(what, "the policy accepts no validator with this key")
            return
        verified = received.verify(found.key)
        why = found.doubt(verified.time_ms // 1000)
        if why is not None:
            self.report.leave(what, why)
            return
        index = self.logs.places.get(data, {}).get(found.validator)
        if index is not None and verified.size > index:
            raise Unverified(
                "tampered", f"{what} says that it read more of the log than there was before it"
            )
        self.report.validators.add(found.validator)
        self.report.check(what, f"signed by the validator; it read {verified.size} entries")
        self.verdicts.append((found.validator, verified, data))

    def silence(self, device: bytes) -> list[TimeEvidence]:
        """Time evidence about a device: verified checkpoints with the verified receipts named."""
        evidence = []
        for digest, checkpoint in self.checkpoints.items():
            receipt = self.custody.get(checkpoint.custody or b"")
            if receipt is None or checkpoint.device != device:
                continue
            if receipt.device != device:
                raise Unverified("tampered", "a checkpoint names another device's custody receipt")
            evidence.append(TimeEvidence(device, digest, receipt.digest, receipt.time_ms))
        return sorted(evidence, key=lambda one: (one.time_ms, one.checkpoint))
