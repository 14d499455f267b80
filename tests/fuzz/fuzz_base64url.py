"""keys.from_b64u returns bytes whose only text is the input, or raises Malformed."""

from tallystick.evidence import keys
from tallystick.evidence.errors import Malformed

SEEDS = (keys.b64u(bytes(32)).encode(), keys.b64u(b"\xfb\xff").encode(), b"")


def target(data: bytes) -> None:
    text = data.decode("latin-1")
    for size in (len(text) * 3 // 4, 32):
        try:
            value = keys.from_b64u(text, size)
        except Malformed:
            continue
        assert len(value) == size
        assert keys.b64u(value) == text
