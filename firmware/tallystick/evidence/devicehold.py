"""Device hold: [41, serial, until_ms / null, time_ms] (docs/protocol.md, 3.6)."""

# A statement by a gateway (RFC 9943); `sub` is the device, which verifies it in steps, with its
# pinned gateway keys.

from tallystick.evidence import _shape as shape
from tallystick.evidence import statement
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import DEVICE_HOLD
from tallystick.evidence.limits import CHECKPOINT_BYTES_MAX, HOLD_MS_MAX
from tallystick.evidence.statement import Signed
from tallystick.evidence.steps import Steps

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class DeviceHold(Signed):
    """Free nothing until `until_ms` by the gateway's receipts; None: the hold is over."""

    def __init__(self, serial: int, until_ms: int | None, time_ms: int) -> None:
        what = "device hold"
        self.serial = shape.uint(serial, what)
        self.time_ms = shape.uint(time_ms, what)
        self.until_ms = until_ms
        if until_ms is not None:
            length = shape.uint(until_ms, what) - time_ms
            if length <= 0 or length > HOLD_MS_MAX:
                raise Malformed("bad-value", "%s: it ends before it begins, or too late" % what)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [DEVICE_HOLD, self.serial, self.until_ms, self.time_ms]

    def verify(self, key: PublicKey) -> "VerifiedDeviceHold":
        """Unverified unless this key, a gateway's, signed; blocks."""
        return self._verified(VerifiedDeviceHold, key)

    def verifier(self, key: PublicKey) -> Steps:
        """As verify, in bounded steps; the result is a VerifiedDeviceHold."""
        return self._verifier(VerifiedDeviceHold, key)


class VerifiedDeviceHold(DeviceHold):
    """`key` signed it; made by verify() only."""

    key: PublicKey


def parse(data: bytes) -> DeviceHold:
    """As received; Malformed with a reason of section 1.7."""
    received = statement.parse(data, DEVICE_HOLD, CHECKPOINT_BYTES_MAX)
    statement.subject_device(received)
    hold = DeviceHold(*shape.row(received.values, 3, "device hold"))
    hold.statement = received
    return hold
