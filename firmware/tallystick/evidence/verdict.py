"""A validator's signed finding (docs/protocol.md, 6.5)."""

from tallystick.evidence import _shape as shape
from tallystick.evidence import statement
from tallystick.evidence.cbor import encode, head
from tallystick.evidence.errors import Malformed
from tallystick.evidence.finding import Finding, from_array
from tallystick.evidence.keys import PublicKey, b64u
from tallystick.evidence.kinds import VERDICT
from tallystick.evidence.limits import UNINVITED_MAX
from tallystick.evidence.steps import Steps

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Verdict(statement.Signed):
    """As received: a finding, the log size it read, the verdict it supersedes, other party sets."""

    def __init__(
        self,
        finding: Finding,
        size: int,
        supersedes: bytes | None,
        uninvited: list[bytes],
        time_ms: int,
    ) -> None:
        what = "verdict"
        if finding.state == "pending":
            raise Malformed("bad-value", "verdict: a pending finding is never signed")
        self.finding = finding
        self.size = shape.uint(size, what)
        if supersedes is not None:
            shape.octets(supersedes, shape.HASH_SIZE, what)
        self.supersedes = supersedes
        # A set of party sets: bytewise order, so that it has one encoding.
        self.uninvited = sorted(shape.hashes(uninvited, UNINVITED_MAX, what))
        shape.ascending(self.uninvited, what)
        self.time_ms = shape.uint(time_ms, what)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            VERDICT,
            self.finding.values(),
            self.size,
            self.supersedes,
            self.uninvited,
            self.time_ms,
        ]

    def payload(self) -> bytes:
        """The encoded array that is signed."""
        if self.statement is not None:
            return self.statement.payload
        # A finding is encoded once: whoever signs it has compared it with the one before.
        rest = [self.size, self.supersedes, self.uninvited, self.time_ms]
        parts = [head(4, 2 + len(rest)), encode(VERDICT), self.finding.encode()]
        return b"".join(parts + [encode(value) for value in rest])

    def subject(self) -> str:
        """What `sub` must be: the interaction id as text."""
        return b64u(self.finding.interaction)

    def verify(self, key: PublicKey) -> "VerifiedVerdict":
        """Unverified unless `key`, the validator's, signed."""
        return self._verified(VerifiedVerdict, key)

    def verifier(self, key: PublicKey) -> Steps:
        """As verify, in bounded steps."""
        return self._verifier(VerifiedVerdict, key)


class VerifiedVerdict(Verdict):
    """A verdict that `key` signed."""

    key: PublicKey


def parse(data: bytes) -> Verdict:
    """A verdict as received; Malformed with a reason of docs/protocol.md, 1.7."""
    return of(statement.parse(data, VERDICT))


def of(received: statement.Statement) -> Verdict:
    """The verdict in a statement of its kind that was parsed already; Malformed as parse."""
    finding, size, supersedes, uninvited, time_ms = shape.row(received.values, 5, "verdict")
    verdict = Verdict(from_array(finding), size, supersedes, uninvited, time_ms)
    shape.ascending(uninvited, "verdict")
    if received.sub != verdict.subject():
        raise Malformed("bad-header", "verdict: sub must be the interaction's id")
    verdict.statement = received
    return verdict
