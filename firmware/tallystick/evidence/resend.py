"""Resend request: [16, epoch, from, to / null] (docs/protocol.md, 3.3); unsigned."""

from tallystick.evidence import _shape as shape
from tallystick.evidence._wire import Wire
from tallystick.evidence.errors import Malformed
from tallystick.evidence.kinds import RESEND_REQUEST

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RESEND_BYTES_MAX = 64


class Resend(Wire):
    """Asks for the stretches from `from_` to before `to`, or to the end."""

    def __init__(self, epoch: bytes, from_: int, to: int | None) -> None:
        self.epoch = shape.octets(epoch, 8, "resend")
        self.from_ = shape.uint(from_, "resend")
        if to is not None and shape.uint(to, "resend") < from_:
            raise Malformed("bad-value", "resend: its range ends before it begins")
        self.to = to

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [RESEND_REQUEST, self.epoch, self.from_, self.to]


def parse(data: bytes) -> Resend:
    """As received; Malformed with a reason of section 1.7."""
    resend = Resend(*shape.fields(data, RESEND_REQUEST, 3, RESEND_BYTES_MAX, "resend"))
    resend._data = data
    return resend
