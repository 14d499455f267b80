# Compares the chip's counter with the journal, and notes what it says.  Loaded at boot, for each
# raise, and after one that failed.

from tallystick.evidence.errors import KeyDriverError
from tallystick.recorder.counting import COST_MS, LOOK_MS, RETRY_MS_MAX, RETRY_MS_MIN
from tallystick.recorder.frames import COUNTER, control
from tallystick.recorder.health import reason_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.recorder.core import Log
    from tallystick.recorder.counting import Counting

YEAR_MS = 31557600000


def frame(log: "Log", uptime_ms: int) -> bytes:
    """The journal's frame of intent and credit."""
    return control([COUNTER, log.intent, log.credit_ms, uptime_ms])


def look(counting: "Counting", now_ms: int) -> bool:
    """One bounded piece of reading the chip and acting on it; `reading` while there is more."""
    value = None
    try:
        if counting.counter is None:
            counting.counter = counting.ledger.signer.counter()
        if counting.counter is not None:
            if counting.reading is None:
                counting.reading = counting.counter.reader()
            if counting.reading is None:
                value = counting.counter.read()
            elif counting.reading.step():
                value = counting.reading.result
            else:
                return True
    except Exception as error:  # noqa: BLE001  # whatever a key's driver raises
        counting.reading = None
        return _failed(counting, now_ms, error)
    counting.reading = None
    if counting.counter is not None and (type(value) is not int or value < 0):
        wrong = KeyDriverError("bad-value", "the counter's value is no number")
        return _failed(counting, now_ms, wrong)
    try:
        _compare(counting, value, now_ms)
    except Exception as error:  # noqa: BLE001  # whatever a flash driver raises
        counting.ledger.fault("flash", reason_of(error), error)
        counting.after_ms = counting.raise_after_ms = now_ms + LOOK_MS
    return True


def _compare(counting: "Counting", value: "Any", now_ms: int) -> None:
    ledger = counting.ledger
    intent = ledger.log.intent
    if value is None:
        # It was there: the journal goes on without it, and checkpoints say null.
        ledger.counting = None
        if intent is not None:
            ledger.fault("counter", "missing")
        return
    if intent is not None and value > intent:
        # Somebody raised it after this journal was written: this is an older image.
        intent = None
        if counting.compared or not ledger.log.fresh:  # else a gateway was faster
            _leave(counting)
    counting.holds = counting.unsure = False
    counting.compared = True
    counting.retry_ms = RETRY_MS_MIN
    log = ledger.log
    if intent is None:
        # The first value that this log knows, and with it the first intent.
        log.intent = log.counter = value
        ledger.append_control(frame(log, now_ms))
        ledger.event("counter", {"value": value})
    elif value < intent - 1:
        # No chip counts back: this one is another, or no such chip.  The log is right.
        log.counter = None
        ledger.fault("counter", "behind")
    elif log.counter is not None and log.counter < value:
        # The chip did it, and its answer was lost.
        raised(counting, value, now_ms)
    else:
        log.counter = value
    show(counting, value)


def _leave(counting: "Counting") -> None:
    from tallystick.recorder import epochs  # noqa: PLC0415  # rarely

    ledger = counting.ledger
    ledger.fault("counter", "rollback")
    epochs.begin(ledger, "rollback", epochs.head_of(ledger.log))
    epochs.boot(ledger, counting.config, {})


def _failed(counting: "Counting", now_ms: int, error: Exception) -> bool:
    # Not readable: nothing is signed before it was compared once.
    if counting.holds:
        counting.after_ms = now_ms + counting.retry_ms
        counting.retry_ms = min(2 * counting.retry_ms, RETRY_MS_MAX)
        counting.ledger.health.key_ok = False
    return not_raised(counting, now_ms, error)


def not_raised(counting: "Counting", now_ms: int, error: Exception) -> bool:
    """A raise, or the look before it, failed; the journal is no older for it."""
    counting.raising_ms = -1
    counting.unsure = True
    counting.raise_after_ms = now_ms + counting.raise_retry_ms
    counting.raise_retry_ms = min(2 * counting.raise_retry_ms, 60 * RETRY_MS_MAX)
    counting.ledger.fault("counter", reason_of(error), error)
    return False


def raised(counting: "Counting", value: int, now_ms: int) -> None:
    """The chip stands at the intent."""
    ledger = counting.ledger
    counting.raise_retry_ms = RETRY_MS_MIN
    counting.boot = False
    counting.raised_ms = now_ms
    ledger.log.counter = value
    ledger.works("counter:")
    ledger.event("counter", {"value": value})


def show(counting: "Counting", value: int) -> None:
    """What is left of it."""
    health = counting.ledger.health
    health.counter = value
    limit = counting.counter.limit
    if limit is not None:
        health.counter_left = left = max(limit - value, 0)
        # At the worst: a raise for each COST_MS of uptime, without an end.
        health.counter_years = left * COST_MS // YEAR_MS
