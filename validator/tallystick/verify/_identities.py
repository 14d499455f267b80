"""Who is who in an evidence file: credentials against the policy's roots, validators' keys."""

from __future__ import annotations

from tallystick.evidence import enrolment, keychange, keycustody
from tallystick.evidence.credential import Credential, Identity, Keyring, verify_credential
from tallystick.evidence.enrolment import (
    CUSTODIES,
    SUBJECT_GATEWAY,
    SUBJECT_VALIDATOR,
    SUBJECTS,
)
from tallystick.evidence.errors import Unverified
from tallystick.evidence.keys import PublicKey, device_text
from tallystick.evidence.statement import Signed, Statement
from tallystick.verify._text import printable
from tallystick.verify.policy import Trust
from tallystick.verify.report import PinnedValidator, Report

IDENTITIES_MAX = 4096


class ValidatorKey:
    """A validator that the policy accepts, and one key that it signs with."""

    def __init__(
        self, validator: PinnedValidator, key: PublicKey, identity: Identity | None
    ) -> None:
        self.validator = validator
        self.key = key
        self.identity = identity  # None: the key itself is pinned, whoever enrolled it

    @property
    def compromised(self) -> bool:
        """Whether any key of its identity is revoked as compromised."""
        keys = () if self.identity is None else self.identity.keys
        return any(period.reason == "compromised" for period in keys)

    def doubt(self, at_s: int) -> str | None:
        """Why what it signed at this time does not count; None when it does."""
        return None if self.identity is None else doubt(self.identity, self.key, at_s)


def doubt(identity: Identity, key: PublicKey, at_s: int) -> str | None:
    """Why a gateway's or validator's signature of this time does not count; None when it does."""
    if identity.period(key.thumbprint()).reason == "compromised":
        return "its key is revoked as compromised"
    first_s, last_s = identity.enrolment.validity
    if not first_s <= at_s <= last_s:
        return "its enrolment was not valid at the time that it states"
    return None


class Identities:
    """Verified identities, by id and by key, and the validators' keys."""

    def __init__(self, trust: Trust, report: Report) -> None:
        self.trust = trust
        self.report = report
        self.keyring = Keyring(trust.roots, None, IDENTITIES_MAX)
        self.by_id: dict[bytes, Identity] = {}
        # When each key change says that it was made, in seconds, by its digest.
        self.revoked_s: dict[bytes, int] = {}
        self.statements: set[bytes] = set()  # digests of all that stand in verified credentials
        self._by_kid: dict[bytes, Identity] = {}
        self._validators: dict[bytes, ValidatorKey] = {}
        self._validator_roots = {one.name: one for one in trust.validators if one.is_root}
        for one in trust.validators:
            if not one.is_root:
                self._accept(one.name, one.organisation, one.key, None)

    def _accept(
        self, name: str, organisation: str, key: PublicKey, identity: Identity | None
    ) -> None:
        # A pinned key stands before a credential of the same key, so that nobody counts twice.
        # A validator that rotated its key is still one: by its id, where a root vouches for it.
        id_ = key.thumbprint() if identity is None else identity.id
        validator = PinnedValidator(name, organisation, id_)
        known = self._validators.setdefault(key.kid(), ValidatorKey(validator, key, identity))
        if known.identity is not None and identity is not None:
            # Of two credentials the longer one counts: it may hold a revocation.
            known.identity = max(known.identity, identity, key=lambda one: len(one.digests))

    def add(self, statements: list[bytes]) -> None:
        """One credential of the file: verified, left with a reason, or refused."""
        credential = Credential(statements)
        received = enrolment.parse(credential.statements[0])
        what = f"{SUBJECTS[received.subject]} {device_text(received.id)}"
        pinned = self._validator_roots.get(received.iss)
        roots = self.trust.roots
        if received.subject == SUBJECT_VALIDATOR and pinned is not None:
            roots = {received.iss: pinned.key}
        if received.iss not in roots:
            pinned_key = self._validators.get(received.key.kid())
            if pinned_key is not None and pinned_key.key == received.key:
                self.report.leave(what, "its key is pinned, so who enrolled it does not matter")
                return
            self.report.leave(what, f"the policy accepts no root of its fleet {received.iss}")
            return
        # Whether the validity covers the evidence is judged later, by the logs' own times.
        identity = verify_credential(credential, roots, None)
        self.keyring.add(identity)
        self.statements.update(identity.digests)
        self.revoked_s.update(_stated_s(credential.statements))
        known = self.by_id.get(identity.id)
        if known is None or len(known.digests) < len(identity.digests):
            self._keep(identity)
        custody = CUSTODIES[keycustody.current(identity).level]
        self.report.check(
            what,
            f"enrolled by {identity.iss}, possession shown, key {identity.status}, "
            f"custody {custody}",
        )
        if identity.subject == SUBJECT_VALIDATOR and pinned is not None:
            for period in identity.keys:
                self._accept(identity.iss, pinned.organisation, period.key, identity)

    def _keep(self, identity: Identity) -> None:
        self.by_id[identity.id] = identity
        self.report.identities[identity.id] = identity
        what = f"{SUBJECTS[identity.subject]} {identity.text}"
        for period in identity.keys:
            self._by_kid[period.key.kid()] = identity
            held = keycustody.of_period(identity, period)
            for kind, why in held.not_checked:
                self.report.leave(f"custody evidence {printable(kind)} of {what}", why)
            if held.claimed != held.level and not held.not_checked:
                self.report.leave(f"custody of {what}", held.why())

    def learn(self, identity: Identity) -> Identity:
        """The best that is known of an identity that a half brought with it."""
        known = self.by_id.get(identity.id)
        if known is not None and len(known.digests) >= len(identity.digests):
            return known
        self._keep(identity)
        self.statements.update(identity.digests)
        return identity

    def signer(self, received: Signed) -> Identity | None:
        """The identity whose key a statement names; None when it is not known."""
        identity = self._by_kid.get(received.received().kid)
        return identity if identity is not None and identity.iss == received.iss else None

    def gateway(self, received: Signed) -> Identity | None:
        """The gateway whose key a statement names; Unverified when it is no gateway's."""
        identity = self.signer(received)
        if identity is not None and identity.subject != SUBJECT_GATEWAY:
            raise Unverified("wrong-key", "a gateway's statement by something else than a gateway")
        return identity

    def validator(self, kid: bytes, iss: str) -> ValidatorKey | None:
        """The accepted validator whose key is named; None when the policy knows none."""
        found = self._validators.get(kid)
        if found is not None and found.validator.name != iss:
            raise Unverified("wrong-key", "a validator's key under another name than its own")
        return found

    def accepted(self, validator: PinnedValidator) -> ValidatorKey:
        """One of the accepted validator's keys; all of them have its identity."""
        return next(one for one in self._validators.values() if one.validator == validator)

    def root_of(self, statement: Statement) -> PublicKey | None:
        """The accepted root that a statement's `iss` names."""
        return self.trust.roots.get(statement.iss)


def _stated_s(statements: list[bytes]) -> dict[bytes, int]:
    changes = [keychange.parse(data) for data in statements[1:]]
    return {change.digest: change.time_ms // 1000 for change in changes}
