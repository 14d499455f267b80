# The promise of claim() and accept() with wait=False, and of urgent decisions.

from tallystick.evidence.errors import CouldNotCheck, TallyError
from tallystick.recorder.driving import run
from tallystick.recorder.files import MICROPYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.recorder import Recorder

# Claims, accepted halves and urgent decisions that wait for their place.
HANDLES_MAX = 16 if MICROPYTHON else 128


class Handle:
    """`ready` once the signature is on flash, or the matter has failed; then `result()`."""

    # What is wrong with an argument raises in result(); what is wrong with this device's flash or
    # key never does: it stands in `fault`.

    def __init__(self) -> None:
        self.ready = False
        self.error: TallyError | None = None
        self.fault = ""
        # The signed checkpoint, kept from the signature to its sync.
        self.checkpoint = b""
        # Where the record lies: epoch, and index, salt, inclusion path.
        self.epoch = b""
        self.place: "tuple[int, bytes, list[bytes]]" = (0, b"", [])
        # Makes the result of the signed checkpoint.
        self.make: "Callable[[bytes], Any] | None" = None
        self.value: "Any" = b""

    @property
    def kept(self) -> bool:
        """Whether it is on flash, signed."""
        return self.ready and not self.fault and self.error is None

    def result(self) -> "Any":
        """A claim's half, b"" where a fault prevented it; or the accepted half, `kept` or not.

        Raises what is wrong with the half that was given, and not-ready.
        """
        if not self.ready:
            raise CouldNotCheck("not-ready", "the signature is not there yet: poll() until ready")
        if self.error is not None:
            raise self.error
        return self.value

    def done(self) -> None:
        """The signature is on flash."""
        make, self.make = self.make, None
        if make is not None:
            try:
                self.value = make(self.checkpoint)
            except TallyError as error:
                self.error = error
            except MemoryError:
                self.fault = "memory"
        self.ready = True

    def fail(self, error: TallyError) -> None:
        """The argument was wrong."""
        self.error = error
        self.make = None
        self.ready = True

    def lose(self, fault: str) -> None:
        """Flash or key failed: no signature will come for this handle."""
        self.fault = fault
        self.make = None
        self.ready = True


def add_sealed(ledger: "Ledger", record: bytes, handle: Handle, seal: bool = True) -> None:  # noqa: FBT001, FBT002
    """Queue a record; the handle is ready once it is signed, or written where not to `seal`."""
    refused = False
    if ledger.journal.refuses:
        from tallystick.recorder.refusing import takes  # noqa: PLC0415  # where it is so

        refused = not takes(ledger, record)
    with ledger.gate:
        if refused or ledger.handles >= HANDLES_MAX:
            ledger.refuse("buffer")
            handle.lose("store-full")
            return
        ledger.queue.append((record, handle, seal))
        ledger.held += len(record)
        ledger.handles += 1
        ledger.health.records += 1


def write(ledger: "Ledger", front: "tuple[bytes, Handle, bool]") -> bool:
    """Write the queue's first record and seal behind it; False when it cannot be now."""
    record, handle, seal = front
    log = ledger.log
    index = log.tree.size
    # A newest leaf's left-hand siblings are the perfect subtrees before it (RFC 9162, 2.1.3).
    path = log.tree.edge[:]
    path.reverse()
    if not ledger.write_records([record]):
        return False
    handle.epoch = log.epoch
    handle.place = (index, log.salt, path)
    ledger.handles -= 1
    ledger.took(1, len(record))
    if not seal:
        handle.done()
        return True
    try:
        ordinal = ledger.seal()
        if ordinal:
            ledger.urgent = ordinal
            ledger.waiters.append((ordinal, handle))
        else:
            handle.lose("key-behind")
    except MemoryError:
        handle.lose("memory")
        ledger.starved("seal")
    return True


def lose_all(ledger: "Ledger") -> None:
    """The journal takes nothing now: who waits is told, and nothing of it is recorded later."""
    with ledger.gate:
        at = len(ledger.queue)
        while at:
            at -= 1
            if type(ledger.queue[at]) is tuple:
                _lose(ledger, at)


def _lose(ledger: "Ledger", at: int) -> None:
    # A gap in its place: leaves behind it are salted for theirs.
    with ledger.gate:
        record, handle, _ = ledger.queue[at]
        ledger.held -= len(record)
        ledger.handles -= 1
        ledger.health.records -= 1
        ledger.health.dropped += 1
        gap = {"dropped": 1, "reason": "flash"}
        queue = ledger.queue
        queue[at] = gap
        # One gap for many, where no leaf's place depends on it.
        last = at + 1 == len(queue)
        other = at - 1 if last else at + 1
        if (last and at) or (not last and not ledger.leaves):
            found = queue[other]
            if type(found) is dict and "to" not in found and found["reason"] == gap["reason"]:
                found["dropped"] += 1
                del queue[at]
    handle.lose("store-full")


def add_urgent(tally: "Recorder", record: bytes) -> None:
    """Durable and signed when this returns, or health says why not."""
    handle = Handle()
    add_sealed(tally._ledger, record, handle)
    wait_for(tally, handle)


def add_later(
    tally: "Recorder",
    model: "Any",
    inputs: "Any",
    constraints: "Any",
    output: "Any",
    context: "Any",
) -> Handle:
    """As add_urgent, for who waits otherwise."""
    handle = Handle()
    now_ms = tally._clock.uptime_ms()
    record = tally._encode(now_ms, model, inputs or {}, constraints or {}, context or {}, output)
    add_sealed(tally._ledger, record, handle)
    return handle


def waiting(
    tally: "Recorder", handle: Handle, step: "Callable[[], bool]"
) -> "Generator[bool, None, bool]":
    """Steps until the handle is ready, at most `wait_s`; yields whether to go on at once.

    Its value is whether the handle has a result.
    """
    # A dead key must not hold a robot for ever: then health tells, and the record stays.
    clock = tally._ledger.clock
    end = clock.uptime_ms() + int(tally._config["wait_s"] * 1000)
    while not handle.ready:
        worked = step()
        # The step may have made it so.
        if not worked and not handle.ready and clock.uptime_ms() >= end:  # type: ignore[redundant-expr]
            tally._ledger.fault("key", "late")
            return False
        yield worked
    if not MICROPYTHON:
        tally.wake()
    return handle.kept


def wait_for(tally: "Recorder", handle: Handle) -> bool:
    """Until the handle is ready, at most `wait_s`; whether it has a result."""
    return run(waiting(tally, handle, tally.step_ledger))
