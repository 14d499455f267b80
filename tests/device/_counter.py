# A monotonic counter in a file, which behaves as a chip's does; for tests on either interpreter.

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw.counter import Counter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class FileCounter(Counter):
    """`broken`: read, begin, poll (not raised) or answer (raised, and nobody is told)."""

    def __init__(self, path: str, limit: "int | None" = None) -> None:
        self.path = path
        self.limit = limit
        self.broken = ""
        self.slow_polls = 0
        self.in_steps = True
        self.raised = 0
        self.busy = False
        self._polls = 0
        self._new: "int | None" = None

    def _stored(self) -> int:
        try:
            with open(self.path) as file:
                return int(file.read())
        except OSError:
            return 0

    def _fail(self, where: str) -> None:
        if self.broken == where:
            raise KeyDriverError("no-answer", "the chip does not answer")

    def read(self) -> int:
        self._fail("read")
        return self._stored()

    def reader(self) -> "Any":
        return Reading(self) if self.in_steps else None

    def begin(self) -> None:
        self._fail("begin")
        if self.limit is not None and self._stored() >= self.limit:
            raise KeyDriverError("counter-worn", "the counter is worn out")
        self.busy = True
        self._polls = 0
        self._new = None

    def poll(self) -> bool:
        self._fail("poll")
        self._polls += 1
        if self._polls <= self.slow_polls:
            return False
        if self.busy:
            self.busy = False
            self._count()
        self._fail("answer")
        return True

    def _count(self) -> None:
        new = self._stored() + 1
        with open(self.path, "w") as file:
            file.write(str(new))
        self.raised += 1
        self._new = new

    def value(self) -> int:
        if self._new is None:
            raise KeyDriverError("not-ready", "no new value")
        return self._new


class Reading:
    """A read in three steps."""

    def __init__(self, counter: FileCounter) -> None:
        self.counter = counter
        self.left = 3
        self.result = 0

    def step(self) -> bool:
        self.left -= 1
        if self.left:
            return False
        self.result = self.counter.read()
        return True


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


def with_counter(signer: "Any", counter: FileCounter) -> "Any":
    """The signer, whose chip counts too."""
    signer.counter = lambda: counter
    return signer
