"""Event: [2, uptime_ms, event, details] (docs/protocol.md, 2.1)."""

# eventwriter.py makes them of what the programming interface is given.

from tallystick.evidence import _shape as shape
from tallystick.evidence import value
from tallystick.evidence._wire import Wire
from tallystick.evidence.eventdetails import check_details
from tallystick.evidence.eventwriter import check_event
from tallystick.evidence.kinds import EVENT
from tallystick.evidence.limits import RECORD_BYTES_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Event(Wire):
    """Something that is no decision; details are canonical values by name."""

    def __init__(self, uptime_ms: int, event: str, details: "dict[str, Any]") -> None:
        self.uptime_ms = shape.uint(uptime_ms, "event")
        self.event = check_event(event)
        self.details = value.check_named(details)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [EVENT, self.uptime_ms, self.event, self.details]


def parse(data: bytes) -> Event:
    """Strict; Malformed with a reason of section 1.7."""
    event = Event(*shape.fields(data, EVENT, 3, RECORD_BYTES_MAX, "event"))
    check_details(event.event, event.details)
    event._data = data
    return event
