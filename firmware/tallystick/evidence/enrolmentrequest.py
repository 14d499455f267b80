"""Request for enrolment: a key, how it is held, and that its holder has it."""

# docs/protocol.md, 5.1: [29, iss, id, key, custody, evidence, possession, details].

from tallystick.evidence import _shape as shape
from tallystick.evidence import keys, statement, value
from tallystick.evidence._wire import Wire
from tallystick.evidence.enrolment import (
    CUSTODIES,
    check_evidence,
    check_possession,
    custody_context,
    possession_message,
)
from tallystick.evidence.errors import Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import ENROLMENT_REQUEST
from tallystick.evidence.limits import STATEMENT_BYTES_MAX
from tallystick.evidence.steps import finish

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from tallystick.evidence.statement import Signs

    class Held(Signs, Protocol):
        """What a request needs of a Signer."""

        custody: str

        def evidence(self, context: bytes) -> "list[list[Any]]": ...


class EnrolmentRequest(Wire):
    """As received: nothing is verified. id: of `key`, or of the device whose key it will be."""

    def __init__(
        self,
        iss: str,
        id: bytes,  # noqa: A002  # the name on the wire
        key: PublicKey,
        custody: int,
        evidence: "list[Any]",
        possession: bytes,
        details: "dict[str, Any]",
    ) -> None:
        what = "request for enrolment"
        self.iss = statement.check_iss(iss)
        self.id = shape.octets(id, 32, what)
        self.key = key
        self.custody = shape.uint(custody, what, 3)
        self.evidence = check_evidence(evidence)
        self.possession = shape.octets(possession, 64, what)
        self.details = value.check_named(details)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            ENROLMENT_REQUEST,
            self.iss,
            self.id,
            self.key.cose_key(),
            self.custody,
            self.evidence,
            self.possession,
            self.details,
        ]

    def verify(self, iss: str, id: "bytes | None" = None) -> "VerifiedRequest":  # noqa: A002  # as on the wire
        """Unverified unless it asks this fleet for this id (None: the key's own); blocks."""
        if self.iss != iss:
            raise Unverified(
                "not-enrolled", "the request asks the fleet %s, and this is %s" % (self.iss, iss)
            )
        if self.id != (self.key.thumbprint() if id is None else id):
            raise Unverified("wrong-device", "the request is for another id than the one meant")
        finish(check_possession(self.key, self.id, iss, self.possession))
        twin: VerifiedRequest = object.__new__(VerifiedRequest)
        for name, item in self.__dict__.items():
            setattr(twin, name, item)
        return twin


class VerifiedRequest(EnrolmentRequest):
    """The holder of the key made it for this fleet and id; made by verify() only."""


def make(
    signer: "Held",
    iss: str,
    id: "bytes | None" = None,  # noqa: A002  # the name on the wire
    details: "dict[str, Any] | None" = None,
) -> EnrolmentRequest:
    """The request of a signer's key, with its evidence; `id` None: the key's own; blocks."""
    key = signer.public_key()
    mine = key.thumbprint() if id is None else id
    evidence: list[Any] = []
    # A software key of a board has not even the method.
    if hasattr(signer, "evidence"):
        evidence = signer.evidence(custody_context(key, iss, mine))
    possession = signer.sign(possession_message(key.alg, mine, iss))
    custody = CUSTODIES.index(signer.custody)
    return EnrolmentRequest(iss, mine, key, custody, evidence, possession, details or {})


def parse(data: bytes) -> EnrolmentRequest:
    """As received; Malformed with a reason of section 1.7."""
    fields = shape.fields(data, ENROLMENT_REQUEST, 7, STATEMENT_BYTES_MAX, "request for enrolment")
    fields[2] = keys.from_cose_key(fields[2])
    request = EnrolmentRequest(*fields)
    request._data = data
    return request
