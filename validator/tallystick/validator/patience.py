"""A clock that leaps forward must not have everything erased (F04).

Retention counts in wall time, and a wrong clock is set right again within minutes or hours. So what
leapt is waited out, by a clock that nobody sets; the leap is real if it is still there then.
"""

import time

from tallystick.validator.limits import RETENTION_LEAP_S_MAX, RETENTION_PATIENCE_S

# Nobody sets this clock; a test does.
steady = time.monotonic


class Patience:
    """since_ms: the newest time that the store knows from before this start."""

    def __init__(self, since_ms: int) -> None:
        self._wall_ms = since_ms
        # Nobody knows how long this program was off: for a start no time has passed.
        self._steady_s = steady()
        self._until_s = 0.0

    def trusts(self, now_ms: int) -> bool:
        """Whether this time may have bodies erased."""
        steady_s = steady()
        passed_s = steady_s - self._steady_s
        if (now_ms - self._wall_ms) / 1000 > passed_s + RETENTION_LEAP_S_MAX:
            self._until_s = steady_s + RETENTION_PATIENCE_S
        self._wall_ms, self._steady_s = now_ms, steady_s
        return steady_s >= self._until_s
