"""A serial uplink's URI names one place and numbers in range, or Malformed refuses it."""

from tallystick.evidence.errors import Malformed
from tallystick.recorder.serial_uri import NUMBERS, parse_serial

SEEDS = (
    b"serial:/dev/ttyACM0",
    b"serial:/dev/ttyUSB0;baud=115200;rate=4000",
    b"serial:uart=1;tx=4;rx=5;baud=9600",
    b"serial:stdio;rate=100",
)


def target(data: bytes) -> None:
    try:
        named = parse_serial(data.decode("latin-1"))
    except Malformed:
        return
    assert len([name for name in ("path", "uart", "stdio") if name in named]) == 1
    assert ("tx" in named) == ("rx" in named)
    assert all(0 <= named[name] <= most for name, most in NUMBERS.items() if name in named)
    assert named["baud"] > 0
