"""The signed head of a gateway's own log (docs/protocol.md, 6.1)."""

from tallystick.evidence import _shape as shape
from tallystick.evidence import statement
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import GATEWAY_HEAD
from tallystick.evidence.steps import Steps

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class GatewayHead(statement.Signed):
    """As received: size and root of the gateway's log; `device` is the gateway's id."""

    def __init__(self, size: int, root: bytes, time_ms: int) -> None:
        what = "gateway head"
        self.size = shape.uint(size, what)
        self.root = shape.octets(root, shape.HASH_SIZE, what)
        self.time_ms = shape.uint(time_ms, what)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [GATEWAY_HEAD, self.size, self.root, self.time_ms]

    def verify(self, key: PublicKey) -> "VerifiedGatewayHead":
        """Unverified unless `key`, the gateway's, signed."""
        return self._verified(VerifiedGatewayHead, key)

    def verifier(self, key: PublicKey) -> Steps:
        """As verify, in bounded steps."""
        return self._verifier(VerifiedGatewayHead, key)


class VerifiedGatewayHead(GatewayHead):
    """A head that `key` signed."""

    key: PublicKey


def parse(data: bytes) -> GatewayHead:
    """A head as received; Malformed with a reason of docs/protocol.md, 1.7."""
    received = statement.parse(data, GATEWAY_HEAD)
    head = GatewayHead(*shape.row(received.values, 3, "gateway head"))
    statement.subject_device(received)
    head.statement = received
    return head
