# A monotonic counter in a file, and a clock that a test moves; small, for a device's heap.
# tests/support/counters.py has one that fails on request.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class FileCounter:
    """As hw/counter.py's, whose code it does not need."""

    limit: "int | None" = None

    def __init__(self, path: str) -> None:
        self.path = path
        self._new = 0

    def read(self) -> int:
        try:
            with open(self.path) as file:
                return int(file.read())
        except OSError:
            return 0

    def reader(self) -> "Any":
        return None

    def begin(self) -> None:
        self._new = self.read() + 1

    def poll(self) -> bool:
        with open(self.path, "w") as file:
            file.write(str(self._new))
        return True

    def value(self) -> int:
        return self._new


class SteppingClock:
    """Passes `step_ms` at each question."""

    def __init__(self, step_ms: int = 1) -> None:
        self.now = 0
        self.step_ms = step_ms

    def uptime_ms(self) -> int:
        self.now += self.step_ms
        return self.now

    def wall(self) -> None:
        return None


def with_counter(signer: "Any", counter: "Any") -> "Any":
    """The signer, whose chip counts too."""
    signer.counter = lambda: counter
    return signer
