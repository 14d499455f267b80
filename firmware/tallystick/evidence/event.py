"""Event: [2, uptime_ms, event, details] (docs/protocol.md, 2.1)."""

from tallystick.evidence import _shape as shape
from tallystick.evidence import cbor, value
from tallystick.evidence._wire import Wire
from tallystick.evidence.errors import Malformed
from tallystick.evidence.kinds import EVENT
from tallystick.evidence.limits import RECORD_BYTES_MAX, RECORD_DEVICE_BYTES_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAMES = ("epoch", "boot", "gap", "clock", "counter", "key", "config", "uplink", "fault")


def _check_event(name: "Any") -> str:
    value.check_name(name)
    if name not in NAMES and "." not in name:
        raise Malformed("bad-value", "an event's name is one of ours or contains a dot")
    return name  # type: ignore[no-any-return]  # check_name refused all but str


class Event(Wire):
    """Something that is no decision; details are canonical values by name."""

    def __init__(self, uptime_ms: int, event: str, details: "dict[str, Any]") -> None:
        self.uptime_ms = shape.uint(uptime_ms, "event")
        self.event = _check_event(event)
        self.details = value.check_named(details)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [EVENT, self.uptime_ms, self.event, self.details]


def parse(data: bytes) -> Event:
    """Strict; Malformed with a reason of section 1.7."""
    event = Event(*shape.fields(data, EVENT, 3, RECORD_BYTES_MAX, "event"))
    event._data = data
    return event


def encode_event(uptime_ms: int, event: str, details: "dict[str, Any]", decimals: int = 6) -> bytes:
    """Canonical bytes of API values."""
    out = bytearray(b"\x84\x02")
    out += cbor.head(0, shape.uint(uptime_ms, "event"))
    out += cbor.encode(_check_event(event))
    value.put_named(out, details, decimals=decimals)
    if len(out) > RECORD_DEVICE_BYTES_MAX:
        raise Malformed("too-large", "a record is longer than 4096 bytes")
    return bytes(out)
