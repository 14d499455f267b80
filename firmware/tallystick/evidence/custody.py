"""Custody receipt: [5, epoch, from, to, root, bodies, time_ms], signed by a gateway."""

# docs/protocol.md, 3.4; a signed statement (RFC 9943).  `sub` is the device.  A device verifies it
# in steps, with its pinned gateway keys, before it frees anything.

from tallystick.evidence import _shape as shape
from tallystick.evidence import statement
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import CUSTODY_RECEIPT
from tallystick.evidence.limits import CHECKPOINT_BYTES_MAX
from tallystick.evidence.statement import Signed
from tallystick.evidence.steps import Steps

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class CustodyReceipt(Signed):
    """Items from_ to `to` (not included) are on the gateway's disk; `root` is that at `to`."""

    def __init__(
        self,
        epoch: bytes,
        from_: int,
        to: int,
        root: bytes,
        bodies: bool,  # noqa: FBT001  # the field on the wire
        time_ms: int,
    ) -> None:
        what = "custody receipt"
        self.epoch = shape.octets(epoch, 8, what)
        self.from_ = shape.uint(from_, what)
        self.to = shape.uint(to, what)
        # Equal for an idle device's repeated head.
        if from_ > to or not to:
            raise Malformed("bad-value", "custody receipt: its range ends before it begins")
        self.root = shape.octets(root, 32, what)
        self.bodies = shape.boolean(bodies, what)
        self.time_ms = shape.uint(time_ms, what)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            CUSTODY_RECEIPT,
            self.epoch,
            self.from_,
            self.to,
            self.root,
            self.bodies,
            self.time_ms,
        ]

    def verify(self, key: PublicKey) -> "VerifiedCustodyReceipt":
        """Unverified unless this key, a gateway's, signed; blocks."""
        return self._verified(VerifiedCustodyReceipt, key)

    def verifier(self, key: PublicKey) -> Steps:
        """As verify, in bounded steps; the result is a VerifiedCustodyReceipt."""
        return self._verifier(VerifiedCustodyReceipt, key)


class VerifiedCustodyReceipt(CustodyReceipt):
    """`key` signed it; made by verify() only."""

    key: PublicKey


def parse(data: bytes) -> CustodyReceipt:
    """As received; Malformed with a reason of section 1.7."""
    received = statement.parse(data, CUSTODY_RECEIPT, CHECKPOINT_BYTES_MAX)
    statement.subject_device(received)
    receipt = CustodyReceipt(*shape.row(received.values, 6, "custody receipt"))
    receipt.statement = received
    return receipt
