"""Enrolment: a fleet root vouches for the key of a device, gateway or validator."""

# docs/protocol.md, 5.1; a signed statement (RFC 9943).
# [6, subject, id, key, custody, evidence, details, releases,
#  interval_s, validity, possession]

from tallystick.evidence import _fields, cose, keys, statement
from tallystick.evidence import _shape as shape
from tallystick.evidence.cbor import encode
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import ENROLMENT
from tallystick.evidence.statement import Signed
from tallystick.evidence.steps import Steps, finish

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from tallystick.evidence.statement import Signs

SUBJECT_DEVICE, SUBJECT_GATEWAY, SUBJECT_VALIDATOR = 0, 1, 2
SUBJECTS = ("device", "gateway", "validator")
CUSTODY_SOFTWARE, CUSTODY_PKCS11, CUSTODY_TPM, CUSTODY_SECURE_ELEMENT = 0, 1, 2, 3
CUSTODIES = ("software", "pkcs11", "tpm", "secure-element")
check_evidence = _fields.check_evidence


class Enrolment(Signed):
    """key: PublicKey; evidence: [type, bytes] each; releases: [name, digest] each."""

    _signed_by = "root"

    def __init__(
        self,
        subject: int,
        id: bytes,  # noqa: A002  # the name on the wire
        key: PublicKey,
        custody: int,
        evidence: "list[Any]",
        details: "dict[str, Any]",
        releases: "list[Any]",
        interval_s: int,
        validity: "list[int] | tuple[int, int]",
        possession: bytes,
    ) -> None:
        validity = list(validity)
        _fields.enrolment_fields(
            subject, id, custody, evidence, details, releases, interval_s, validity, possession
        )
        self.subject = subject
        self.id = id
        self.key = key
        self.custody = custody
        self.evidence = evidence
        self.details = details
        self.releases = releases
        self.interval_s = interval_s
        self.validity = validity
        self.possession = possession

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            ENROLMENT,
            self.subject,
            self.id,
            self.key.cose_key(),
            self.custody,
            self.evidence,
            self.details,
            self.releases,
            self.interval_s,
            self.validity,
            self.possession,
        ]

    def check_time(self, at_s: int) -> None:
        """Unverified("expired") outside the validity."""
        if not self.validity[0] <= at_s <= self.validity[1]:
            raise Unverified("expired", "the enrolment is not valid at this time")

    def verify(self, root: PublicKey) -> "VerifiedEnrolment":
        """Unverified unless the root signed, for a key that its holder has; blocks."""
        return finish(self.verifying(root))  # type: ignore[no-any-return]  # a generator's result

    def verifier(self, root: PublicKey) -> Steps:
        """As verify, in bounded steps; the result is a VerifiedEnrolment."""
        return Steps(self.verifying(root))

    def verifying(self, root: PublicKey) -> "Generator[None, None, VerifiedEnrolment]":
        """As verify, as a generator."""
        if self.id != self.key.thumbprint():
            raise Unverified("wrong-key", "the enrolment's id is not the thumbprint of its key")
        if self.device != self.id:
            raise Unverified("wrong-device", "the enrolment's subject is not the id it enrols")
        verified = yield from self._verifying(VerifiedEnrolment, root)
        yield from check_possession(self.key, self.id, self.iss, self.possession)
        return verified


class VerifiedEnrolment(Enrolment):
    """`root` signed it, and the holder of the key proved to have it; made by verify() only."""

    root: PublicKey


def parse(data: bytes) -> Enrolment:
    """As received; Malformed with a reason of section 1.7."""
    received = statement.parse(data, ENROLMENT)
    statement.subject_device(received)
    fields = shape.row(received.values, 10, "enrolment")
    fields[2] = keys.from_cose_key(fields[2])
    shape.array(fields[8], "enrolment")
    enrolment = Enrolment(*fields)
    enrolment.statement = received
    return enrolment


def possession_message(alg: int, id: bytes, iss: str) -> bytes:  # noqa: A002  # as on the wire
    """What a key signs to show that its holder has it: bound to its id and to the fleet."""
    payload = encode(["possession", id, statement.check_iss(iss)])
    return cose.to_be_signed(cose.protected_header(alg, None), payload)


def custody_context(key: PublicKey, iss: str, id: "bytes | None" = None) -> bytes:  # noqa: A002  # as on the wire
    """32 bytes that attested custody evidence is bound to; `id` None: the key's own."""
    return sha256(possession_message(key.alg, key.thumbprint() if id is None else id, iss))


def check_possession(
    key: PublicKey,
    id: bytes,  # noqa: A002  # the name on the wire
    iss: str,
    possession: bytes,
) -> "Generator[None, None, None]":
    """Unverified("no-possession") unless the key signed; in steps."""
    try:
        work = key.verifier(possession, possession_message(key.alg, id, iss))
        while not work.step():
            yield
    except Unverified:
        raise Unverified("no-possession", "the proof of possession is not by the enrolled key")


def request(signer: "Signs", iss: str) -> tuple[PublicKey, bytes]:
    """(key, possession) for the fleet root; blocks."""
    key = signer.public_key()
    return key, signer.sign(possession_message(key.alg, key.thumbprint(), iss))
