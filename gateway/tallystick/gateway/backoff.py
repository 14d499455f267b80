"""Waiting longer after each failure, at random within the bound: full jitter."""

import random

from tallystick.gateway import limits


class Backoff:
    """`next_s()` after a failure, `reset()` after a success."""

    def __init__(self, s_max: float, s_min: float = limits.RETRY_S_MIN) -> None:
        self._s_min = min(s_min, s_max)
        self._s_max = s_max
        self._bound_s = self._s_min
        self._random = random.Random()  # noqa: S311 - jitter keeps gateways apart, it hides nothing

    def next_s(self, least: float = 0.0) -> float:
        """Seconds to wait now; `least`: at least this part of the bound."""
        bound_s = self._bound_s
        self._bound_s = min(2 * bound_s, self._s_max)
        return self._random.uniform(max(self._s_min / 2, least * bound_s), bound_s)

    def reset(self) -> None:
        """It worked."""
        self._bound_s = self._s_min
