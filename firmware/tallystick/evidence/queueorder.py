# CPython only
"""Queue order: a fleet root asks a gateway who waits to join (docs/protocol.md, 5.5)."""

# [34, challenge, after]; a signed statement whose `sub` is the gateway's id.

from typing import Any

from tallystick.evidence import _shape as shape
from tallystick.evidence import joincode, statement
from tallystick.evidence.errors import Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import QUEUE_ORDER
from tallystick.evidence.limits import CHECKPOINT_BYTES_MAX
from tallystick.evidence.statement import Signed

CHALLENGE_SIZE = 32


class QueueOrder(Signed):
    """challenge: what the gateway gave; after: the number of the last request that is known."""

    _signed_by = "root"

    def __init__(self, challenge: bytes, after: int) -> None:
        self.challenge = shape.octets(challenge, CHALLENGE_SIZE, "queue order")
        self.after = shape.uint(after, "queue order")

    def values(self) -> list[Any]:
        """The array of the CDDL, kind first."""
        return [QUEUE_ORDER, self.challenge, self.after]

    def verify(self, root: PublicKey, gateway: bytes, challenge: bytes) -> "VerifiedOrder":
        """Unverified unless the root signed it for this gateway, as the answer to `challenge`."""
        if self.device != gateway:
            raise Unverified("wrong-device", "the order is for another gateway")
        if not joincode.same(self.challenge, challenge):
            raise Unverified("not-authorised", "the order answers another challenge")
        return self._verified(VerifiedOrder, root)


class VerifiedOrder(QueueOrder):
    """`root` signed it; made by verify() only."""

    root: PublicKey


def parse(data: bytes) -> QueueOrder:
    """As received; Malformed with a reason of section 1.7."""
    received = statement.parse(data, QUEUE_ORDER, CHECKPOINT_BYTES_MAX)
    statement.subject_device(received)
    order = QueueOrder(*shape.row(received.values, 2, "queue order"))
    order.statement = received
    return order
