# CPython only
"""The level of custody that counts for a key: claimed by the root, and shown by evidence."""

# docs/protocol.md, 5.3.  A pure function of the enrolment or rotation and the root's key, so that
# every validator and every integrator counts the same.  (Custody receipts are in custody.py.)

from typing import Any

from tallystick.evidence import custody_atecc608, custody_pkcs11, custody_tpm2
from tallystick.evidence.credential import Identity, KeyPeriod
from tallystick.evidence.enrolment import (
    CUSTODIES,
    CUSTODY_PKCS11,
    CUSTODY_SECURE_ELEMENT,
    CUSTODY_SOFTWARE,
    CUSTODY_TPM,
    custody_context,
)
from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import PublicKey

# The type of evidence that each level needs.
NEEDS = {
    CUSTODY_PKCS11: custody_pkcs11.TYPE,
    CUSTODY_TPM: custody_tpm2.TYPE,
    CUSTODY_SECURE_ELEMENT: custody_atecc608.TYPE,
}


class Counted:
    """How a key is held, as far as evidence shows it.

    claimed, level: indexes of CUSTODIES, what the root says and what counts.
    shown, not_proven: sentences about the evidence that counts.
    not_checked: (type of evidence, why it does not count) of the rest.
    """

    def __init__(self, claimed: int) -> None:
        self.claimed = claimed
        self.level = CUSTODY_SOFTWARE
        self.shown: list[str] = []
        self.not_proven: list[str] = []
        self.not_checked: list[tuple[str, str]] = []

    def why(self) -> str:
        """Why less counts than is claimed; empty when all of it does."""
        if self.level == self.claimed:
            return ""
        claimed = CUSTODIES[self.claimed]
        reasons = "; ".join(f"{kind}: {why}" for kind, why in self.not_checked)
        if not reasons:
            reasons = f"no evidence ({NEEDS[self.claimed]}) is in its enrolment"
        return f"{claimed} is claimed and does not count: {reasons}"


def count(
    key: PublicKey,
    id: bytes,  # noqa: A002  # the name on the wire
    iss: str,
    root: PublicKey,
    claimed: int,
    evidence: list[Any],
    at_s: int,
) -> Counted:
    """What counts of `claimed`; never raises.

    id: what the key is enrolled for; evidence: [type, bytes] each; at_s: the first second of the
    enrolment's validity, or the time of the rotation.
    """
    counted = Counted(claimed)
    needed = NEEDS.get(claimed)
    context = custody_context(key, iss, id)
    for kind, data in evidence:
        try:
            if kind not in NEEDS.values():
                counted.not_checked.append((kind, "a type of evidence that is not known here"))
            elif kind != needed:
                why = f"evidence of another level than {CUSTODIES[claimed]}, which is claimed"
                counted.not_checked.append((kind, why))
            else:
                shown, not_proven = _check(kind, data, key, context, root, iss, at_s)
                counted.level = claimed
                counted.shown += shown
                counted.not_proven += not_proven
        except TallyError as error:
            counted.not_checked.append((kind, error.message))
    return counted


def _check(
    kind: str,
    data: bytes,
    key: PublicKey,
    context: bytes,
    root: PublicKey,
    iss: str,
    at_s: int,
) -> tuple[list[str], list[str]]:
    if kind == custody_tpm2.TYPE:
        return custody_tpm2.parse(data).check(key, context, root, iss, at_s)
    if kind == custody_pkcs11.TYPE:
        return custody_pkcs11.parse(data).check(key, context)
    return custody_atecc608.parse(data).check(key, context)


def of_period(identity: Identity, period: KeyPeriod) -> Counted:
    """What counts for one key of a verified identity; worked out once."""
    counted: Counted | None = period.counted
    if counted is None:
        enrolled = identity.enrolment
        counted = period.counted = count(
            period.key,
            identity.id,
            identity.iss,
            enrolled.root,
            period.custody,
            period.evidence,
            period.since_s,
        )
    return counted


def of_key(identity: Identity, thumbprint: bytes) -> Counted:
    """As of_period, by a key's thumbprint; Unverified when it was never enrolled for this id."""
    return of_period(identity, identity.period(thumbprint))


def current(identity: Identity) -> Counted:
    """What counts for the current key."""
    return of_period(identity, identity.keys[-1])
