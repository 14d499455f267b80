"""cbor.decode returns a value whose encoding is exactly the input, or raises Malformed."""

from tallystick.evidence import cbor
from tallystick.evidence.errors import Malformed
from tallystick.evidence.number import Dec

SEEDS = (
    cbor.encode([0, 12, {"a": Dec(5, -1), "b": [None, True, b"x" * 30]}, -70000, "text \u00fc"]),
    cbor.encode({1: {2: {3: [[], {}]}}, -1: 2**64 - 1, 300: "x" * 300}),
    # What no flip or cut finds: a chain of heads that each promise one more.
    b"\xc4\x82" * 5000,
    b"\xa1\x00" * 5000,
)


def target(data: bytes) -> None:
    try:
        value = cbor.decode(data)
    except Malformed:
        return
    assert cbor.encode(value) == data
