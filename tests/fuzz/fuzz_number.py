"""number.from_text gives a number whose text reads back as itself, or raises Malformed."""

from tallystick.evidence import cbor, number
from tallystick.evidence.errors import Malformed

SEEDS = (b"-12.500", b"0.000001", b"9223372036854775807", b"100000000000000000000", b"-0")


def target(data: bytes) -> None:
    try:
        value = number.from_text(data.decode("latin-1"))
    except Malformed:
        return
    assert number.from_text(number.to_text(value)) == value
    assert cbor.decode(cbor.encode(value)) == value
