"""Accepted half: [3, uptime_ms, half] (docs/protocol.md, 2.1)."""

from tallystick.evidence import _shape as shape
from tallystick.evidence._wire import Wire
from tallystick.evidence.kinds import ACCEPTED_HALF
from tallystick.evidence.limits import HALF_BYTES_MAX, RECORD_BYTES_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class AcceptedHalf(Wire):
    """half: its bytes as they were accepted."""

    def __init__(self, uptime_ms: int, half: bytes) -> None:
        self.uptime_ms = shape.uint(uptime_ms, "accepted half")
        self.half = shape.blob(half, HALF_BYTES_MAX, "accepted half")

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [ACCEPTED_HALF, self.uptime_ms, self.half]


def parse(data: bytes) -> AcceptedHalf:
    """Strict; Malformed with a reason of section 1.7."""
    accepted = AcceptedHalf(*shape.fields(data, ACCEPTED_HALF, 2, RECORD_BYTES_MAX, "record"))
    accepted._data = data
    return accepted
