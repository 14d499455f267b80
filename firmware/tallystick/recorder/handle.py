# The promise of claim() and accept() with wait=False, and of urgent decisions.

import time

from tallystick.evidence.errors import CouldNotCheck, TallyError
from tallystick.recorder.files import MICROPYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.recorder import Recorder

STEP_S = 0.001


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
        # Where the record lies: index, salt, inclusion path.
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


def add_sealed(ledger: "Ledger", record: bytes, handle: Handle) -> None:
    """Append and seal in one; the handle gets its place and waits, or has lost."""
    with ledger.lock:
        log = ledger.log
        # What may go before the record goes now, so that the path is that of its place.
        if ledger.dropped:
            from tallystick.recorder.troubles import add_gap  # noqa: PLC0415  # rarely

            add_gap(ledger)
        if log.stretch_room <= 0:
            ledger.seal()
        index = log.tree.size
        # A newest leaf's left-hand siblings are the perfect subtrees before it (RFC 9162, 2.1.3).
        path = log.tree.edge[:]
        path.reverse()
        if not ledger.add(record):
            handle.lose("store-full")
            return
        handle.place = (index, log.salt, path)
        ordinal = ledger.seal()
        if ordinal:
            ledger.waiters.append((ordinal, handle))
        else:
            handle.lose("key-behind")


def add_urgent(tally: "Recorder", record: bytes) -> None:
    """Durable and signed when this returns, or health says why not."""
    handle = Handle()
    add_sealed(tally._ledger, record, handle)
    wait_for(tally, handle)


def wait_for(tally: "Recorder", handle: Handle) -> bool:
    """Until the handle is ready, at most `wait_s`; whether it has a result."""
    # A dead key must not hold a robot for ever: then health tells, and the record stays.
    clock = tally._ledger.clock
    end = clock.uptime_ms() + int(tally._config["wait_s"] * 1000)
    while not handle.ready:
        if not tally.step_ledger() and not handle.ready:
            if clock.uptime_ms() >= end:
                tally._ledger.fault("key", "late")
                return False
            time.sleep(STEP_S)
    if not MICROPYTHON:
        tally.wake()
    return handle.kept
