# Text of keys, ids and fleets: part of keys.py and statement.py, apart for who needs no keys.

from binascii import a2b_base64, b2a_base64

from tallystick.evidence.errors import Malformed
from tallystick.evidence.limits import ISS_BYTES_MAX

ID_SIZE = 32
_BASE64URL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_ISS = b"abcdefghijklmnopqrstuvwxyz0123456789.-"

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def check_iss(iss: "Any") -> str:
    """A fleet's name (docs/protocol.md, 1.4): 1 to 20 characters of a-z, 0-9, dot and hyphen."""
    if type(iss) is not str or not 1 <= len(iss) <= ISS_BYTES_MAX:
        raise Malformed("bad-header", "iss must be 1 to 20 characters")
    try:
        raw = iss.encode()
    except ValueError:  # a lone surrogate
        raw = b" "
    # By bytes: MicroPython keeps every character that a loop over text gives for ever.
    for byte in raw:
        if byte not in _ISS:
            raise Malformed("bad-header", "iss must be of a-z 0-9 . -")
    return iss


def b64u(data: bytes) -> str:
    """Base64url without padding (RFC 4648, section 5)."""
    text = b2a_base64(data).decode()
    return text.strip("=\n").replace("+", "-").replace("/", "_")


def _all_base64url(text: str) -> bool:
    try:
        raw = text.encode()
    except ValueError:  # a lone surrogate
        return False
    return all([byte in _BASE64URL for byte in raw])  # noqa: C419  # costs less code there


def from_b64u(text: str, size: int) -> bytes:
    """Exactly `size` bytes from what b64u writes: two texts never mean one value."""
    # Decoders skip foreign characters, or fail each in its own way, so none is let through.
    if type(text) is str and len(text) == (size * 4 + 2) // 3 and _all_base64url(text):
        standard = text.replace("-", "+").replace("_", "/") + "=" * (-size % 3)
        data = a2b_base64(standard.encode())
        # Decoders ignore spare bits, so the text must come back.
        if b64u(data) == text:
            return data
    raise Malformed("bad-value", "not the base64url text of %d bytes" % size)


def device_text(device: bytes) -> str:
    """An id's text, 43 characters."""
    return b64u(device)


def device_from_text(text: str) -> bytes:
    """An id's 32 bytes."""
    return from_b64u(text, ID_SIZE)
