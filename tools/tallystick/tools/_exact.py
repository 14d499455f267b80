"""Records' values as JSON, with every digit of their numbers."""

from decimal import Decimal
from typing import Any

import msgspec

from tallystick.evidence.keys import b64u
from tallystick.evidence.number import Dec

# An object with this one name stands for a byte string.
BYTES = "$bytes"
_encoder = msgspec.json.Encoder(decimal_format="number")


def encoded(value: Any) -> bytes:
    """JSON, on one line."""
    return _encoder.encode(value)


def plain(value: Any) -> Any:
    """A record's value for JSON, as lines.parse takes it back."""
    if isinstance(value, Dec):
        sign = 1 if value.mantissa < 0 else 0
        return Decimal((sign, tuple(map(int, str(abs(value.mantissa)))), value.exponent))
    if isinstance(value, bytes):
        return {BYTES: b64u(value)}
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value
