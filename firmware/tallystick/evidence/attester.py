# CPython only
"""Attester: a fleet root vouches for an attestation key in a TPM (docs/protocol.md, 5.3)."""

# [28, key, custody, details, validity]; a signed statement whose `sub` is the key's thumbprint.

from typing import Any

from tallystick.evidence import _shape as shape
from tallystick.evidence import keys, statement, value
from tallystick.evidence.enrolment import CUSTODY_TPM
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import ATTESTER
from tallystick.evidence.limits import CUSTODY_EVIDENCE_BYTES_MAX
from tallystick.evidence.statement import Signed


class Attester(Signed):
    """key: the attestation key; details: manufacturer, serial, ek_certificate; validity in s."""

    _signed_by = "root"

    def __init__(
        self,
        key: PublicKey,
        custody: int,
        details: dict[str, Any],
        validity: list[int] | tuple[int, int],
    ) -> None:
        what = "attester"
        self.key = key
        if shape.uint(custody, what) != CUSTODY_TPM:
            raise Malformed("bad-value", "attester: only keys in a TPM are attested")
        self.custody = custody
        self.details = value.check_named(details)
        self.validity = shape.row(list(validity), 2, what)
        if shape.uint(validity[0], what) > shape.uint(validity[1], what):
            raise Malformed("bad-value", "attester: its validity ends before it begins")

    def values(self) -> list[Any]:
        """The array of the CDDL, kind first."""
        return [ATTESTER, self.key.cose_key(), self.custody, self.details, self.validity]

    def check_time(self, at_s: int) -> None:
        """Unverified("expired") outside the validity."""
        if not self.validity[0] <= at_s <= self.validity[1]:
            raise Unverified("expired", "the attester is not valid at the time of the enrolment")

    def verify(self, root: PublicKey) -> "VerifiedAttester":
        """Unverified unless the root signed, for the key that is its subject."""
        if self.device != self.key.thumbprint():
            raise Unverified("wrong-key", "the attester's subject is not the thumbprint of its key")
        return self._verified(VerifiedAttester, root)


class VerifiedAttester(Attester):
    """`root` signed it; made by verify() only."""

    root: PublicKey


def parse(data: bytes) -> Attester:
    """As received; Malformed with a reason of section 1.7."""
    received = statement.parse(data, ATTESTER, CUSTODY_EVIDENCE_BYTES_MAX)
    statement.subject_device(received)
    key, custody, details, validity = shape.row(received.values, 4, "attester")
    shape.array(validity, "attester")
    shape.row(validity, 2, "attester")
    attester = Attester(keys.from_cose_key(key), custody, details, validity)
    attester.statement = received
    return attester
