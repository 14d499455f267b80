"""The monotonic counters of an ATECC608."""

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw.atecc608_chip import Chip
from tallystick.hw.counter import Counter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.hw.atecc608_chip import Job, Work

COUNTER = 0x24
COUNTER_MS = 25
LIMIT = 2_097_151


class AteccCounter(Counter):
    """Counter 0 or 1; it ends at `limit`, for the life of the chip."""

    limit = LIMIT

    def __init__(self, chip: Chip, number: int) -> None:
        self._chip = chip
        self._number = number
        self._job: "Job | None" = None

    def read(self) -> int:
        return self._chip.run(reading, self._chip, self._number)  # type: ignore[no-any-return]

    def reader(self) -> "Any":
        return self._chip.start(reading, self._chip, self._number)

    def begin(self) -> None:
        if self._job is not None and not self._job.done:
            raise KeyDriverError("busy", "the ATECC608's counter is being raised already")
        self._job = self._chip.start(raising, self._chip, self._number, [])

    def poll(self) -> bool:
        if self._job is None:
            raise KeyDriverError("not-raising", "the counter is not being raised: begin() first")
        try:
            return self._job.step()
        except Exception:
            self._job = None
            raise

    def value(self) -> int:
        job = self._job
        if job is None or not job.done:
            raise KeyDriverError("not-ready", "the counter has no new value yet")
        self._job = None
        return job.result  # type: ignore[no-any-return]  # an operation's


def reading(chip: Chip, number: int) -> "Work":
    """The counter's value."""
    answer = yield from chip.command(COUNTER, 0, number, b"", 4, COUNTER_MS)
    return int.from_bytes(answer, "little")


def raising(chip: Chip, number: int, before: "list[int]") -> "Work":
    """One more, once: what was raised before its answer was lost is not raised again.

    before: empty; holds the value from which it was raised, when this is made anew.
    """
    value = yield from reading(chip, number)
    if not before:
        before.append(value)
    elif value != before[0]:
        return value
    if value >= LIMIT:
        raise KeyDriverError(
            "counter-worn",
            "counter %d of the ATECC608 has reached %d and counts no further: replace the chip "
            "(`tally fleet replace`)" % (number, LIMIT),
        )
    answer = yield from chip.command(COUNTER, 1, number, b"", 4, COUNTER_MS)
    return int.from_bytes(answer, "little")
