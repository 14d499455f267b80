"""How long what waits for a validator may wait for more to go with it.

    [[validators]]
    batch_age_s = 0.2

A batch goes when it is full, or when the oldest segment in it has waited so long. What was here
when the gateway started has waited long enough. Time comes as an argument, in monotonic seconds:
a clock that is set moves nothing.
"""

import math


class Patience:
    """Of one validator's forwarder."""

    def __init__(self, age_s: float) -> None:
        self.age_s = age_s
        self._since_s: float | None = -math.inf

    def left_s(self, now_s: float) -> float:
        """Something waits: for how long it still may."""
        if self._since_s is None:
            self._since_s = now_s
        return max(0.0, self._since_s + self.age_s - now_s)

    def nothing(self) -> None:
        """Nothing waits."""
        self._since_s = None

    def sent(self, built_s: float) -> None:
        """A batch that was built then is answered: what lies behind it came later."""
        if self._since_s is not None:
            self._since_s = max(self._since_s, built_s)
