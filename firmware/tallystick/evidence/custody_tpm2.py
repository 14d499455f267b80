# CPython only
"""Custody evidence of a TPM 2.0: TPM2_Certify of a key by an attestation key."""

# docs/protocol.md, 5.3: [public, attest, signature, attester]; TPM 2.0 Library, part 3, 18.2.

from typing import Any

from tallystick.evidence import _shape as shape
from tallystick.evidence import _tpm, attester
from tallystick.evidence._wire import Wire
from tallystick.evidence.cbor import decode
from tallystick.evidence.errors import Unverified
from tallystick.evidence.keys import ES256, PublicKey, b64u
from tallystick.evidence.limits import CUSTODY_EVIDENCE_BYTES_MAX

TYPE = "tpm2-certify"
STRUCTURE_BYTES_MAX = 1024
_MUST = (
    (_tpm.FIXED_TPM, "the key may leave its TPM (fixedTPM)"),
    (_tpm.FIXED_PARENT, "the key may get another parent (fixedParent)"),
    (_tpm.SENSITIVE_DATA_ORIGIN, "the key was brought from outside (sensitiveDataOrigin)"),
    (_tpm.SIGN, "the key does not sign (sign)"),
)
_MUST_NOT = (
    (_tpm.RESTRICTED, "the key signs only what the TPM itself makes (restricted)"),
    (_tpm.DECRYPT, "the key also decrypts (decrypt)"),
)


class Tpm2Certify(Wire):
    """public: TPMT_PUBLIC; attest: TPMS_ATTEST; signature: r || s with low s; attester: statement.

    The TPM's bytes as it gives them, without the size of a TPM2B around them.
    """

    def __init__(self, public: bytes, attest: bytes, signature: bytes, attester_: bytes) -> None:
        self.public = shape.blob(public, STRUCTURE_BYTES_MAX, TYPE)
        self.attest = shape.blob(attest, STRUCTURE_BYTES_MAX, TYPE)
        self.signature = shape.octets(signature, 64, TYPE)
        self.attester = attester.parse(shape.blob(attester_, CUSTODY_EVIDENCE_BYTES_MAX, TYPE))
        self.subject = _tpm.Public(self.public)
        self.certified = _tpm.Certified(self.attest)

    def values(self) -> list[Any]:
        """The array of the CDDL; it has no kind."""
        return [self.public, self.attest, self.signature, self.attester.encode()]

    def check(
        self, key: PublicKey, context: bytes, root: PublicKey, iss: str, at_s: int
    ) -> tuple[list[str], list[str]]:
        """(what it shows, what it does not prove), sentences; Unverified.

        context: 32 bytes (enrolment.custody_context); root, iss: of the fleet that enrolled the
        key; at_s: the enrolment's first second or the rotation's time.
        """
        if self.attester.iss != iss:
            raise Unverified("not-enrolled", "the attester is by another fleet than the enrolment")
        vouched = self.attester.verify(root)
        vouched.check_time(at_s)
        vouched.key.verify(self.signature, self.attest)
        if self.certified.extra_data != context:
            raise Unverified("bad-custody", "the attestation is bound to another key, id or fleet")
        if self.certified.name != self.subject.name:
            raise Unverified("bad-custody", "the attestation certifies another key")
        if key.alg != ES256 or key.raw != self.subject.raw:
            raise Unverified("bad-custody", "the certified key is not the enrolled one")
        attributes = self.subject.attributes
        for bit, otherwise in _MUST:
            if not attributes & bit:
                raise Unverified("bad-custody", otherwise)
        for bit, otherwise in _MUST_NOT:
            if attributes & bit:
                raise Unverified("bad-custody", otherwise)
        who = ", ".join(
            f"{name.replace('_', ' ')} {given!r}"
            for name in ("manufacturer", "serial")
            if type(given := vouched.details.get(name)) is str
        )
        shown = [
            "the key was made in a TPM and cannot leave it: certified by the attestation key "
            f"{b64u(vouched.key.thumbprint())}, for which the fleet root vouches"
            + (f" ({who})" if who else "")
        ]
        return shown, [
            "that the TPM is genuine and its attestation key restricted: the fleet root says so",
            "who may use the key: whoever reaches the TPM and has its authorisation, if any",
        ]


def parse(data: bytes) -> Tpm2Certify:
    """As received; Malformed with a reason of section 1.7."""
    values = decode(shape.blob(data, CUSTODY_EVIDENCE_BYTES_MAX, TYPE))
    evidence = Tpm2Certify(*shape.row(values, 4, TYPE))
    evidence._data = data
    return evidence
