"""A key URI of an ATECC608 names one place and numbers in range, or KeyDriverError refuses it."""

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw.atecc608_open import FREQ_HZ_MAX, NUMBERS, PLACES, SLOTS, parse

SEEDS = (
    b"bus=1;address=0x60;slot=3",
    b"id=0;scl=5;sda=4;freq=100000",
    b"board=raspberry-pi",
    b"tcp=127.0.0.1:7608;slot=1",
    b"virtual=a chip;slot=0xF",
)


def target(data: bytes) -> None:
    text = data.decode("latin-1")
    try:
        named = parse(text)
    except KeyDriverError:
        return
    assert len([name for name in PLACES if name in named]) == 1
    assert 0 <= named.get("slot", 0) < SLOTS and 8 <= named.get("address", 0x60) < 0x78
    assert 0 < named.get("freq", 1) <= FREQ_HZ_MAX
    # Each part of the text is there once, as it was written.
    parts = dict(part.split("=", 1) for part in text.split(";"))
    assert list(parts) == list(named)
    for name, value in named.items():
        assert (int(parts[name], 0) if name in NUMBERS and "x" in parts[name] else value) == value
        assert name in NUMBERS or parts[name] == value
