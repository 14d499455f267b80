"""An ATECC608 on a bus: wake, packets, answers, and operations one after the other."""

# Nothing here waits.  An operation is a generator that yields for how many milliseconds the chip
# is to be left alone; step() goes on with the first one when that time is over.  `i2c` is any
# object with machine.I2C's writeto, readfrom and scan.

import sys
import time

from tallystick.evidence.errors import KeyDriverError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    Work = Generator[int, None, Any]

# Word addresses.
SLEEP = b"\x01"
IDLE = b"\x02"
COMMAND = 3
AFTER_WAKE = b"\x04\x11\x33\x43"
SELF_TEST_FAILED = 7
# What an answer of one byte says.
PARSE = 0x03
EXECUTION = 0x0F
WOKEN = 0x11
WATCHDOG = 0xEE
CRC = 0xFF

WAKE_MS = 2  # the chip needs 1.5
# A chip that another program left busy answers after the watchdog's 1.7 s at the latest; the
# pauses between the tries double, 2.5 s in all.
WAKE_TRIES = 9
WAKE_PAUSE_MS = 5
COMMAND_TRIES = 3
ANSWER_TRIES = 3
OPERATION_TRIES = 3
LOOK_MS = 5  # between two looks at a busy chip
LATE_MS = 100  # beyond twice its longest time a command is lost
JOBS_MAX = 4
LOCK_TRIES = 2000
# What bus drivers raise when the wires hang instead of "nobody answers".
STUCK = (11, 16, 110, 116)  # EAGAIN, EBUSY, ETIMEDOUT on Linux and on boards

if sys.implementation.name == "micropython":
    from time import (  # type: ignore[attr-defined]  # MicroPython's
        sleep_ms,
        ticks_add,
        ticks_diff,
        ticks_ms,
    )
else:

    def ticks_ms() -> int:
        """As MicroPython's."""
        return time.monotonic_ns() // 1_000_000

    def ticks_add(ticks: int, delta: int) -> int:
        """As MicroPython's."""
        return ticks + delta

    def ticks_diff(end: int, start: int) -> int:
        """As MicroPython's."""
        return end - start

    def sleep_ms(ms: int) -> None:
        """As MicroPython's."""
        time.sleep(ms / 1000)


class Lost(Exception):
    """The chip forgot what it was told: it slept, or lost its supply."""


class Refused(Exception):
    """The chip's answer is a status other than success."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def crc16(data: bytes) -> bytes:
    """Polynomial 0x8005, least significant bits first, two bytes little-endian."""
    crc = 0
    for byte in data:
        for _ in range(8):
            crc = (crc << 1 ^ (0x8005 if (byte ^ crc >> 15) & 1 else 0)) & 0xFFFF
            byte >>= 1  # noqa: PLW2901  # its next bit
    return crc.to_bytes(2, "little")


def _is_stuck(error: OSError) -> bool:
    return error.args[:1] != () and error.args[0] in STUCK


class Job:
    """An operation that waits or runs; the shape of evidence.steps.Steps."""

    def __init__(
        self, chip: "Chip", make: "Callable[..., Work]", arguments: "tuple[Any, ...]"
    ) -> None:
        self._chip = chip
        self._make = make
        self._arguments = arguments
        self._work: "Work | None" = None
        self._tries = OPERATION_TRIES
        self.done = False
        self.error: "Exception | None" = None
        self.result: "Any" = None

    def step(self) -> bool:
        """At most one short transaction on the bus; True when done; raises what went wrong."""
        if not self.done:
            self._chip.step()
        if self.error is not None:
            raise self.error
        return self.done

    def go_on(self) -> int:
        """For so many milliseconds the chip is to be left alone; `done` is set at the end."""
        try:
            if self._work is None:
                self._work = self._make(*self._arguments)
            return next(self._work)
        except StopIteration as end:
            self.result = end.value
        except (Lost, Refused) as error:
            # Execution errors too: a digest that was lost shows as one.
            status = getattr(error, "status", EXECUTION)
            self._tries -= 1
            if self._tries and status == EXECUTION:
                self._work = None
                return LOOK_MS
            self.error = self._chip.failed(error)
        except Exception as error:  # noqa: BLE001  # whatever it is belongs to who began this
            self.error = error
        self.done = True
        return 0


class Chip:
    """One chip at one address."""

    # 0, 1, 2: the clock divider, by which the slow commands take longer (config zone, byte 19).
    divider = 0

    def __init__(self, i2c: "Any", address: int) -> None:
        self.i2c = i2c
        self.address = address
        self._jobs: "list[Job]" = []
        self._due = ticks_ms()
        # A bus that several programs may use can be had for one operation.
        self._lock = getattr(i2c, "lock", None)
        self._locked = 0

    def full(self, spare: int = 0) -> bool:
        """Whether no operation can be taken now; `spare` places are kept for others."""
        return len(self._jobs) + spare >= JOBS_MAX

    def start(self, make: "Callable[..., Work]", *arguments: "Any") -> Job:
        """Queue an operation; it is made anew when the chip has lost it."""
        if self.full():
            raise KeyDriverError("busy", "the ATECC608 has %d operations to do" % JOBS_MAX)
        if not self._jobs:
            self._due = ticks_ms()  # ticks go round in days: an old time may look like one to come
        job = Job(self, make, arguments)
        self._jobs.append(job)
        return job

    def run(self, make: "Callable[..., Work]", *arguments: "Any") -> "Any":
        """An operation and all before it; blocks."""
        return self.finish(self.start(make, *arguments))

    def finish(self, job: Job) -> "Any":
        """A job's result; blocks, and sleeps while the chip works."""
        while not job.step():
            self.rest()
        return job.result

    def idle_ms(self) -> int:
        """For so long there is nothing to do; at least 1."""
        left: int = ticks_diff(self._due, ticks_ms())
        return max(1, left)

    def rest(self) -> None:
        """Sleep until there is something to do, at most a look's time."""
        sleep_ms(min(self.idle_ms(), LOOK_MS))

    def step(self) -> None:
        """Go on with the first operation, if its time has come."""
        if not self._jobs or ticks_diff(self._due, ticks_ms()) > 0:
            return
        job = self._jobs[0]
        if self._lock is not None and self._locked <= 0 and not self._take(job):
            wait = LOOK_MS
        else:
            wait = job.go_on()
        self._due = ticks_add(ticks_ms(), wait)
        if job.done:
            self._jobs.pop(0)
            if self._locked > 0:
                self.i2c.unlock()
            self._locked = 0

    def _take(self, job: Job) -> bool:
        try:
            if self._lock():  # type: ignore[misc]  # it is not None
                self._locked = 1
                return True
        except OSError as error:
            job.error = KeyDriverError("no-bus", "the ATECC608's bus is gone (%s)" % error)
        self._locked -= 1
        if self._locked <= -LOCK_TRIES:
            job.error = KeyDriverError(
                "busy", "another program does not let go of the ATECC608's bus"
            )
        job.done = job.error is not None
        return False

    def failed(self, error: "Lost | Refused") -> KeyDriverError:
        """What to tell of what could not be done."""
        if isinstance(error, Refused):
            return KeyDriverError(
                "chip-refused",
                "the ATECC608 at 0x%02X refused a command with status %02X; "
                "`tally key show` says what it is set up for" % (self.address, error.status),
            )
        return KeyDriverError(
            "chip-lost",
            "the ATECC608 at 0x%02X forgot %d times what it was told (%s); check its supply and "
            "wires" % (self.address, OPERATION_TRIES, error),
        )

    # Parts of operations.

    def command(
        self,
        opcode: int,
        p1: int,
        p2: int,
        data: bytes,
        size: int,
        longest_ms: "int | tuple[int, int, int]",
        rest: bytes = SLEEP,
    ) -> "Work":
        """One command; its answer of `size` bytes, or Refused.

        The chip rests after each, so that its watchdog never ends a sequence; idle keeps what it
        was told, sleep forgets it and draws no current.
        """
        if not isinstance(longest_ms, int):
            longest_ms = longest_ms[self.divider]
        packet = bytes((7 + len(data), opcode, p1, p2 & 255, p2 >> 8)) + data
        packet = bytes((COMMAND,)) + packet + crc16(packet)
        tries = COMMAND_TRIES
        while True:
            yield from self._wake()
            try:
                self.i2c.writeto(self.address, packet)
            except OSError:
                raise Lost("it took no command")
            yield longest_ms >> 1
            answer = yield from self._answer(size, longest_ms)
            try:
                self.i2c.writeto(self.address, rest)
            except OSError:
                pass  # it sleeps already; a digest that it lost shows as a refusal
            if len(answer) == size and (size > 1 or not answer[0]):
                return answer
            tries -= 1
            if answer[0] == WOKEN:
                raise Lost("it was reset")
            if answer[0] not in (CRC, WATCHDOG) or not tries:
                raise Refused(answer[0])

    def _wake(self) -> "Work":
        i2c = self.i2c
        pause = WAKE_PAUSE_MS
        for _ in range(WAKE_TRIES):
            stuck = False
            try:
                # Nobody has address 0: its zeros on the data line are the pulse that wakes.
                i2c.writeto(0, b"\0")
            except OSError as error:
                stuck = _is_stuck(error)
            yield WAKE_MS
            try:
                answer = i2c.readfrom(self.address, 4)
                if answer == AFTER_WAKE:
                    return
                if answer[1] == SELF_TEST_FAILED and crc16(answer[:2]) == answer[2:]:
                    raise KeyDriverError(
                        "chip-broken", "the ATECC608 failed its own test at power-on: replace it"
                    )
                # It was awake, so that the pulse was none: it wakes when it slept.
                i2c.writeto(self.address, SLEEP)
            except OSError as error:
                stuck = stuck or _is_stuck(error)
            yield pause
            pause <<= 1
        if stuck:
            raise KeyDriverError(
                "bus-stuck",
                "the I2C bus hangs: check pull-ups and wires, then switch the ATECC608 off and on",
            )
        raise KeyDriverError("no-chip", "no ATECC608 answers at address 0x%02X" % self.address)

    def _answer(self, size: int, longest_ms: int) -> "Work":
        i2c = self.i2c
        left = longest_ms * 2 + LATE_MS
        tries = ANSWER_TRIES
        while True:
            try:
                answer = i2c.readfrom(self.address, size + 3)
            except OSError:
                # Busy; or asleep or gone, which shows when it is woken.
                left -= LOOK_MS
                if left < 0:
                    raise Lost("it gave no answer")
                yield LOOK_MS
                continue
            count = answer[0]
            if count in (4, size + 3) and crc16(answer[: count - 2]) == answer[count - 2 : count]:
                return answer[1 : count - 2]
            tries -= 1
            if not tries:
                raise KeyDriverError(
                    "bus-noise",
                    "answers of the ATECC608 at 0x%02X come damaged: check wires, pull-ups and "
                    "clock rate" % self.address,
                )
            try:
                i2c.writeto(self.address, b"\0")  # the answer once more, from its beginning
            except OSError:
                raise Lost("it fell asleep")
            yield 1
