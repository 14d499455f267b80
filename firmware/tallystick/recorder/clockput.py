# MicroPython only
# Puts a board's clock to another time for the moment of a handshake (recorder/mqtt_tls.py).

import time

from tallystick.recorder import clock

SLACK_S = 2


class Put:
    """The clock is put from now until back(); the recorder takes no time from it meanwhile."""

    def __init__(self, seconds: int) -> None:
        self._ticks = time.ticks_ms()  # type: ignore[attr-defined]  # MicroPython's
        self._before_s = clock.raw_s()
        self._to_s = seconds
        self._done = _set(seconds)
        clock.put.append(1)

    def back(self) -> None:
        """To the time before, unless somebody else has set it."""
        passed_ms: int = time.ticks_diff(time.ticks_ms(), self._ticks)  # type: ignore[attr-defined]
        passed_s = passed_ms // 1000
        if self._done and abs(clock.raw_s() - self._to_s - passed_s) <= SLACK_S:
            _set(self._before_s + passed_s)
        clock.put.pop()


def _set(seconds: int) -> bool:
    try:
        from machine import RTC  # noqa: PLC0415  # a board's
    except ImportError:
        return False
    shift_s = clock.EPOCH_2000_S if time.gmtime(0)[0] == 2000 else 0
    year, month, day, hour, minute, second, weekday = time.gmtime(seconds - shift_s)[:7]
    RTC().datetime((year, month, day, weekday, hour, minute, second, 0))
    return True
