"""The bytes of an event, straight from the arguments of the programming interface."""

from tallystick.evidence import cbor, valuewriter
from tallystick.evidence._dec import INT_MAX
from tallystick.evidence.errors import Malformed
from tallystick.evidence.limits import RECORD_DEVICE_BYTES_MAX
from tallystick.evidence.value import check_name

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAMES = (
    "epoch",
    "boot",
    "gap",
    "clock",
    "counter",
    "key",
    "config",
    "uplink",
    "space",
    "fault",
    "hold",
)
DIGEST_SIZE = 32


def check_event(name: "Any") -> str:
    """One of ours, or a name with a dot in it."""
    check_name(name)
    if name not in NAMES and "." not in name:
        raise Malformed("bad-value", "an event's name is one of ours or contains a dot")
    return name  # type: ignore[no-any-return]  # check_name refused all but str


def encode_event(uptime_ms: int, event: str, details: "dict[str, Any]", decimals: int = 6) -> bytes:
    """Canonical bytes of API values."""
    out = bytearray(b"\x84\x02")
    if type(uptime_ms) is not int or not 0 <= uptime_ms <= INT_MAX:
        raise Malformed("bad-value", "event: uptime_ms must be 0 to 2^63-1")
    out += cbor.head(0, uptime_ms)
    out += cbor.encode(check_event(event))
    # The one event of ours that a program may record too.
    digest = details.get("digest")
    if event == "config" and (type(digest) is not bytes or len(digest) != DIGEST_SIZE):
        raise Malformed("bad-value", "a config event has a digest, of 32 bytes")
    valuewriter.put_named(out, details, decimals=decimals)
    if len(out) > RECORD_DEVICE_BYTES_MAX:
        raise Malformed("too-large", "a record is longer than 4096 bytes")
    return bytes(out)
