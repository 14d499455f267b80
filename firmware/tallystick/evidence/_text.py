# Base64url text of keys and ids: part of keys.py, apart for who needs no keys.

from binascii import a2b_base64, b2a_base64

from tallystick.evidence.errors import Malformed

ID_SIZE = 32


def b64u(data: bytes) -> str:
    """Base64url without padding (RFC 4648, section 5)."""
    text = b2a_base64(data).decode()
    return text.strip("=\n").replace("+", "-").replace("/", "_")


def _all_base64url(text: str) -> bool:
    for char in text:
        if not ("a" <= char <= "z" or "A" <= char <= "Z" or "0" <= char <= "9" or char in "-_"):
            return False
    return True


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
