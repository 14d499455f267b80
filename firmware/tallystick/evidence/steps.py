# Verification in bounded steps.  Long checks are written once, as generators that yield between
# bounded pieces of work; who may block runs them to the end, a control loop runs them stepwise.

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any


class Steps:
    """`step()` until it says True; then `result` holds what was verified."""

    def __init__(self, work: "Generator[None, None, Any]") -> None:
        self._work = work
        self.done = False
        self.result: Any = None

    def step(self) -> bool:
        """One bounded piece of work; True when done; raises what the check raises."""
        if self.done:
            return True
        try:
            next(self._work)
        except StopIteration as end:
            self.result = end.value
            self.done = True
        return self.done


def finish(work: "Generator[None, None, Any]") -> "Any":
    """Run to the end at once; the result."""
    try:
        while True:
            next(work)
    except StopIteration as end:
        return end.value
