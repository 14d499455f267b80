"""Notarised: [25, epoch, size, receipt] (docs/protocol.md, 3.3): a validator's receipt."""

from tallystick.evidence import _shape as shape
from tallystick.evidence._wire import Wire
from tallystick.evidence.kinds import NOTARISED
from tallystick.evidence.limits import RECEIPT_BYTES_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NOTARISED_BYTES_MAX = RECEIPT_BYTES_MAX + 32


class Notarised(Wire):
    """receipt: a COSE Receipt (RFC 9942) over the device's checkpoint of this size."""

    def __init__(self, epoch: bytes, size: int, receipt: bytes) -> None:
        self.epoch = shape.octets(epoch, 8, "notarised")
        self.size = shape.uint(size, "notarised")
        self.receipt = shape.blob(receipt, RECEIPT_BYTES_MAX, "notarised")

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [NOTARISED, self.epoch, self.size, self.receipt]


def parse(data: bytes) -> Notarised:
    """As received; Malformed with a reason of section 1.7."""
    notarised = Notarised(*shape.fields(data, NOTARISED, 3, NOTARISED_BYTES_MAX, "notarised"))
    notarised._data = data
    return notarised
