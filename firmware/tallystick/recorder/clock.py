# The recorder's two clocks: uptime, which orders, and the wall clock, which is only a claim.

import sys
import time

# Before this a clock was never set (2024-01-01).
WALL_S_MIN = 1704067200
# Seconds from 1970 to 2000, where some boards begin.
EPOCH_2000_S = 946684800
# How much an oscillator may err.
DRIFT_PPM = 200

MICROPYTHON = sys.implementation.name == "micropython"
# Not empty while the machine's clock is put to a time that is none (recorder/clockput.py).
put: list[int] = []


def raw_s() -> int:
    """What the machine's clock says, set or not, in whole seconds since 1970."""
    seconds = int(time.time())
    if MICROPYTHON and time.gmtime(0)[0] == 2000:
        seconds += EPOCH_2000_S
    return seconds


def machine_s() -> int | None:
    """Seconds since 1970 by the machine's clock, None while that is not set."""
    seconds = raw_s()
    return seconds if seconds > WALL_S_MIN and not put else None


class SystemClock:
    """Milliseconds since it was made, and the machine's time with its uncertainty."""

    # Where nobody set this clock, what receipts say of it (recorder/hinting.py): by how much the
    # time is ahead of uptime, at least and at most, and at which uptime that was learned.
    hint: "tuple[int, int, int] | None" = None

    def __init__(self, uncertainty_ms: int = 1000) -> None:
        self.uncertainty_ms = uncertainty_ms
        self._ticks: int = 0
        self._passed_ms = 0
        if MICROPYTHON:
            self._ticks = time.ticks_ms()  # type: ignore[attr-defined]  # MicroPython's
        else:
            self._ticks = time.monotonic_ns()

    def uptime_ms(self) -> int:
        """Never falls; MicroPython's ticks wrap, so this must be asked within days."""
        if not MICROPYTHON:
            return (time.monotonic_ns() - self._ticks) // 1000000
        now: int = time.ticks_ms()  # type: ignore[attr-defined]  # MicroPython's
        self._passed_ms += time.ticks_diff(now, self._ticks)  # type: ignore[attr-defined]  # its
        self._ticks = now
        return self._passed_ms

    def wall(self) -> "tuple[int, int] | None":
        """(milliseconds since 1970, uncertainty), or None while the clock is not set."""
        seconds = machine_s()
        if seconds is None:
            return None if self.hint is None else self._hinted()
        if MICROPYTHON:
            # Whole seconds on many boards.
            return seconds * 1000, self.uncertainty_ms
        return time.time_ns() // 1000000, self.uncertainty_ms

    def _hinted(self) -> "tuple[int, int]":
        least, most, at_ms = self.hint  # type: ignore[misc]  # asked before
        now_ms = self.uptime_ms()
        drift_ms = (now_ms - at_ms) * DRIFT_PPM // 1000000 + 1
        return now_ms + (least + most) // 2, (most - least + 1) // 2 + drift_ms
