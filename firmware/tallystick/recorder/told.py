# CPython only
"""Records for a caller who must be told what became of each: `tally recorder serve`.

Recorder.decision() and event() return nothing, since a control loop has no use for an answer.
"""

import time
from typing import TYPE_CHECKING, Any

from tallystick.evidence.decisionwriter import encode_decision
from tallystick.evidence.errors import Malformed
from tallystick.evidence.eventwriter import encode_event
from tallystick.recorder.driving import STEP_S
from tallystick.recorder.handle import Handle, add_sealed, wait_for

if TYPE_CHECKING:
    from tallystick.recorder.recorder import Recorder

LATE = "key-late"
UNSYNCED = "flash-late"
# Faults of a handle whose record is in no log that goes on.
UNRECORDED = ("store-full", "flash", "memory", "frozen-epoch")


class Told:
    """Where the record lies, whether a signature over it is on flash, and else what is wrong."""

    def __init__(
        self, epoch: bytes, index: int, fault: str = "", *, signed: bool = False, value: Any = None
    ) -> None:
        self.epoch = epoch
        self.index = index
        self.fault = fault
        self.signed = signed
        # A claim's half, or the accepted half.
        self.value = value

    @property
    def recorded(self) -> bool:
        """Whether the record is in the log."""
        return self.fault not in UNRECORDED


def decision(
    tally: "Recorder",
    model: Any,
    inputs: Any = None,
    constraints: Any = None,
    output: Any = None,
    context: Any = None,
    urgent: bool = False,  # noqa: FBT001, FBT002  # as Recorder.decision
) -> Told:
    """As Recorder.decision."""
    record = encode_decision(
        tally._clock.uptime_ms(), model, inputs or {}, constraints or {}, context or {}, output
    )
    return _signed(tally, record) if urgent else _written(tally, record)


def event(tally: "Recorder", name: Any, details: Any = None) -> Told:
    """As Recorder.event."""
    if type(name) is not str or ("." not in name and name != "config"):
        raise Malformed("bad-value", "an application's event has a name with a dot in it")
    return _written(tally, encode_event(tally._clock.uptime_ms(), name, details or {}))


def claim(tally: "Recorder", words: "dict[str, Any]") -> Told:
    """As Recorder.claim; `value` is the half."""
    handle = tally.claim(**words, wait=False)
    return Told(tally.epoch, 0, "memory") if handle is None else _awaited(tally, handle)


def accept(tally: "Recorder", half: bytes) -> Told:
    """As Recorder.accept, in a recorder whose thread polls; `value` is the accepted half."""
    handle = tally.accept(half, wait=False)
    if handle is None:
        return Told(tally.epoch, 0, "memory")
    return _awaited(tally, handle)


def _written(tally: "Recorder", record: bytes) -> Told:
    ledger = tally._ledger
    handle = Handle()
    add_sealed(ledger, record, handle, seal=False)
    end = _end_ms(tally)
    while not handle.ready:
        # By this thread, so that nobody waits for a sync or a signature.
        if not ledger.write() and not handle.ready:
            if ledger.clock.uptime_ms() >= end:
                return Told(tally.epoch, 0, LATE)
            time.sleep(STEP_S)
    told = Told(handle.epoch, handle.place[0], handle.fault)
    if handle.kept and ledger.journal.unnamed and not _named(tally):
        told.fault = UNSYNCED
    return told


def _end_ms(tally: "Recorder") -> int:
    now: int = tally._clock.uptime_ms()
    return now + int(tally._config["wait_s"] * 1000)


def _named(tally: "Recorder") -> bool:
    # A new file of the journal has a temporary name until its first sync, and what stands in it is
    # lost with the process. So the first answers after a new file wait for that sync.
    ledger = tally._ledger
    end = _end_ms(tally)
    if not ledger.log.pending:
        ledger.seal()
    while ledger.journal.unnamed:
        if not tally.step_ledger():
            if ledger.clock.uptime_ms() >= end:
                return False
            time.sleep(STEP_S)
    return True


def _signed(tally: "Recorder", record: bytes) -> Told:
    handle = Handle()
    add_sealed(tally._ledger, record, handle)
    return _awaited(tally, handle)


def _awaited(tally: "Recorder", handle: Handle) -> Told:
    wait_for(tally, handle)
    epoch = handle.epoch or tally.epoch
    if not handle.ready:
        return Told(epoch, handle.place[0], LATE)
    # What is wrong with the half that was given raises.
    value = handle.result()
    return Told(epoch, handle.place[0], handle.fault, signed=handle.kept, value=value)
