"""A monotonic counter in a file, which behaves, and fails, as a chip's does."""

from collections.abc import Generator
from pathlib import Path

from tallystick.evidence.errors import KeyDriverError
from tallystick.evidence.steps import Steps
from tallystick.hw.counter import Counter


class MoodyCounter(Counter):
    """`broken`: read, begin, poll (not raised) or answer (raised, and nobody is told)."""

    def __init__(self, path: str, limit: int | None = None) -> None:
        self.path = Path(path)
        self.limit = limit
        self.broken = ""
        self.slow_polls = 0
        self.raised = 0
        self.busy = False
        self._polls = 0
        self._new: int | None = None

    def stored(self) -> int:
        return int(self.path.read_text()) if self.path.exists() else 0

    def _fail(self, where: str) -> None:
        if self.broken == where:
            raise KeyDriverError("no-answer", "the chip does not answer")

    def read(self) -> int:
        self._fail("read")
        return self.stored()

    def reader(self) -> "Steps | None":
        return Steps(self._reading())

    def _reading(self) -> Generator[None, None, int]:
        yield
        yield
        return self.read()

    def begin(self) -> None:
        self._fail("begin")
        if self.limit is not None and self.stored() >= self.limit:
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
            self.count()
        self._fail("answer")
        return True

    def count(self) -> None:
        """The chip counts."""
        new = self.stored() + 1
        self.path.write_text(str(new))
        self.raised += 1
        self._new = new

    def value(self) -> int:
        if self._new is None:
            raise KeyDriverError("not-ready", "no new value")
        return self._new
