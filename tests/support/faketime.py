"""A computer whose clock is wrong: libfaketime before MicroPython, and a board's RTC that sets it.

Only the wall clock is another one; what is read of it is read anew each time from a file, which
`machine.RTC().datetime()` of the shim writes. So Mbed TLS sees what a board's Mbed TLS would see.
"""

from pathlib import Path

from tallystick.tools import micropython
from tallystick.tools._apt import unpack
from tallystick.tools._cache import folder_once
from tallystick.tools.micropython import MicroPython

SHIM = """
import os

class RTC:
    def datetime(self, now):
        year, month, day, weekday, hour, minute, second, _ = now
        text = "@%04d-%02d-%02d %02d:%02d:%02d\\n" % (year, month, day, hour, minute, second)
        with open({path!r}, "w") as file:
            file.write(text)
        with open({path!r} + ".log", "a") as file:
            file.write(text)
"""


def quick(interpreter: MicroPython, times: int) -> dict[str, str]:
    """An environment in which time, and waiting, pass so many times faster."""
    return {"LD_PRELOAD": str(_library(interpreter.bits)), "FAKETIME": f"+0 x{times}"}


class WrongClock:
    """`environment` and `folder` (with the shim) for a MicroPython that starts at `begin`."""

    def __init__(self, folder: Path, interpreter: MicroPython, begin: str) -> None:
        folder.mkdir()
        self.folder = folder
        self._time = folder / "time"
        self._time.write_text(f"@{begin}\n")
        self.environment = {
            "LD_PRELOAD": str(_library(interpreter.bits)),
            "FAKETIME_TIMESTAMP_FILE": str(self._time),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "TZ": "UTC",
        }

    def with_rtc(self) -> None:
        """A `machine` module whose RTC sets the clock."""
        (self.folder / "machine.py").write_text(SHIM.format(path=str(self._time)))

    def puts(self) -> list[str]:
        """The times that the RTC was put to, in order."""
        log = Path(f"{self._time}.log")
        return log.read_text().split("\n")[:-1] if log.exists() else []


def _library(bits: int) -> Path:
    arch, triplet, _ = micropython.BUILDS[bits]
    packages = ("libfaketime",)
    folder = folder_once(
        f"faketime-{micropython.SUITE}-{arch}",
        lambda made: unpack(micropython.SUITE, arch, packages, made),
    )
    return folder / "usr" / "lib" / triplet / "faketime" / "libfaketime.so.1"
