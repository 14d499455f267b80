"""Monotonic counters: what hardware counts and nobody can count back."""

from tallystick.evidence.errors import KeyDriverError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.evidence.steps import Steps


class Counter:
    """A monotonic counter that hardware keeps.

    Raising it wears some chips out, so it is split-phase too and callers limit its rate
    (docs/protocol.md, 2.1; design rule 5).
    """

    limit: "int | None" = None  # the last value that it can reach; None where it does not wear out

    def read(self) -> int:
        """Its value; blocks for a read of the chip."""
        raise KeyDriverError("no-counter", "this key has no counter")

    def reader(self) -> "Steps | None":
        """As read(), in bounded pieces: step() until True, then `result`; None: read() is quick."""
        return None

    def begin(self) -> None:
        """Start to raise it by one."""
        raise KeyDriverError("no-counter", "this key has no counter")

    def poll(self) -> bool:
        """A bounded piece of work; True when value() has the new value."""
        raise KeyDriverError("no-counter", "this key has no counter")

    def value(self) -> int:
        """The new value, after poll() was True."""
        raise KeyDriverError("no-counter", "this key has no counter")

    def increment(self) -> int:
        """begin, poll and value in one; blocks."""
        self.begin()
        while not self.poll():
            pass
        return self.value()
