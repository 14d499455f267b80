# What a plain loop does with work that yields: steps, and sleeps where there is nothing to do.

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

STEP_S = 0.001


def run(work: "Generator[bool, None, bool]") -> bool:
    """Its value, after sleeping wherever there is nothing to do."""
    while True:
        try:
            worked = next(work)
        except StopIteration as end:
            return bool(end.value)
        if not worked:
            time.sleep(STEP_S)
