# CPython only
"""A serial port of an operating system, by pyserial, which knows the settings of every kind."""

import os
from importlib.util import find_spec
from typing import Any

from tallystick.evidence.errors import Malformed, TransportError


class Port:
    """Bytes in and out; never waits. OSError when the port is gone."""

    def __init__(self, path: str, baud: int) -> None:
        import serial  # noqa: PLC0415  # an extra

        # Exclusive: two programs on one line take each other's bytes.
        self._serial = serial.Serial(path, baud, timeout=0, write_timeout=0, exclusive=True)
        self._fd: int = self._serial.fileno()

    def read(self, size: int) -> bytes:
        """What is there, at most `size` bytes; b"" when nothing is."""
        try:
            return os.read(self._fd, size)
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> int:
        """How many bytes were taken."""
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Give the port back."""
        self._serial.close()


def check(named: dict[str, Any]) -> None:
    """Malformed, or TransportError, for what will never work here."""
    if "path" not in named:
        message = "serial:uart= and serial:stdio are a microcontroller's; here: serial:/dev/NAME"
        raise Malformed("bad-config", message)
    if find_spec("serial") is None:
        message = "a serial uplink needs pyserial: pip install 'tallystick[serial]'"
        raise TransportError("no-uplink", message)


def open_port(named: dict[str, Any]) -> Port:
    """The port of an uplink's URI."""
    return Port(named["path"], named["baud"])
