"""Notice: [26, reason, epoch / null, from / null] (docs/protocol.md, 3.3); unsigned."""

from tallystick.evidence import _shape as shape
from tallystick.evidence._wire import Wire
from tallystick.evidence.kinds import NOTICE
from tallystick.evidence.limits import NAME_BYTES_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NOTICE_BYTES_MAX = 128


class Notice(Wire):
    """Why something was refused: a reason of section 1.7; only counted and shown."""

    def __init__(self, reason: str, epoch: bytes | None, from_: int | None) -> None:
        self.reason = shape.text(reason, NAME_BYTES_MAX, "notice")
        if epoch is not None:
            shape.octets(epoch, 8, "notice")
        if from_ is not None:
            shape.uint(from_, "notice")
        self.epoch = epoch
        self.from_ = from_

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [NOTICE, self.reason, self.epoch, self.from_]


def parse(data: bytes) -> Notice:
    """As received; Malformed with a reason of section 1.7."""
    notice = Notice(*shape.fields(data, NOTICE, 3, NOTICE_BYTES_MAX, "notice"))
    notice._data = data
    return notice
