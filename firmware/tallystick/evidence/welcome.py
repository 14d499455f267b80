"""Welcome: [24, time_ms, checkpoint / null, custody / null] (docs/protocol.md, 3.3)."""

# Unsigned: the time is a hint, and the checkpoint and the receipt bear their own signatures.

from tallystick.evidence import _shape as shape
from tallystick.evidence._wire import Wire
from tallystick.evidence.kinds import WELCOME
from tallystick.evidence.limits import CHECKPOINT_BYTES_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WELCOME_BYTES_MAX = 2 * CHECKPOINT_BYTES_MAX + 32


class Welcome(Wire):
    """checkpoint: the device's own newest that the gateway holds; custody: the newest receipt."""

    def __init__(self, time_ms: int, checkpoint: bytes | None, custody: bytes | None) -> None:
        self.time_ms = shape.uint(time_ms, "welcome")
        for data in (checkpoint, custody):
            if data is not None:
                shape.blob(data, CHECKPOINT_BYTES_MAX, "welcome")
        self.checkpoint = checkpoint
        self.custody = custody

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [WELCOME, self.time_ms, self.checkpoint, self.custody]


def parse(data: bytes) -> Welcome:
    """As received; Malformed with a reason of section 1.7."""
    welcome = Welcome(*shape.fields(data, WELCOME, 3, WELCOME_BYTES_MAX, "welcome"))
    welcome._data = data
    return welcome
