"""Party sets over which the sequencer fails: left out for a while, so that no other waits."""

import time
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy.exc import SQLAlchemyError

from tallystick.evidence.errors import KeyDriverError
from tallystick.validator.defects import OF_CONTENT, described
from tallystick.validator.limits import (
    FAILING_RETRY_S,
    FAILING_SETS_MAX,
    PARTY_SETS_PER_TICK_MAX,
)
from tallystick.validator.store import StoreLost

_LOG = structlog.get_logger("tallystick.validator.failing")


def is_defect(error: Exception) -> bool:
    """Whether it may be for what was looked at; not a store or a key that is away."""
    if isinstance(error, OF_CONTENT):
        return True
    return not isinstance(error, (SQLAlchemyError, OSError, KeyDriverError, StoreLost))


class Failing:
    """Of one sequencer, in memory: who starts again finds out again."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._until_s: dict[int, float] = {}
        # How many sets the next tick looks at: halved until the one that is at fault is alone.
        self.room = PARTY_SETS_PER_TICK_MAX

    def __len__(self) -> int:
        return len(self._until_s)

    def left_out(self) -> list[int]:
        """Numbers of the sets that wait for another try."""
        if self._until_s:
            now_s = self._monotonic()
            self._until_s = {at: until for at, until in self._until_s.items() if until > now_s}
        return sorted(self._until_s)

    def passed(self) -> None:
        """A tick went well."""
        self.room = min(2 * self.room, PARTY_SETS_PER_TICK_MAX)

    def failed(self, tried: Sequence[int], error: Exception) -> bool:
        """A tick failed over these sets; False where leaving one out would not help."""
        if not tried or not is_defect(error) or len(self) >= FAILING_SETS_MAX:
            return False
        if len(tried) > 1:
            self.room = len(tried) // 2
            return True
        self._until_s[tried[0]] = self._monotonic() + FAILING_RETRY_S
        _LOG.error("finding-failed", party_set=tried[0], **described(error))
        return True
