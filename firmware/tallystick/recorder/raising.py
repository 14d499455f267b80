# Raising the hardware counter: the intent is synced, then the chip counts.  Loaded for each raise.

from tallystick.evidence.errors import KeyDriverError
from tallystick.recorder.comparing import frame, not_raised, raised, show
from tallystick.recorder.counting import COST_MS, HOUR_MS, LOOK_MS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.recorder.counting import Counting

# A raise takes a chip some 25 ms.
RAISE_MS_MAX = 10000


def step(counting: "Counting", now_ms: int) -> bool:
    """One bounded piece; False when there is nothing to do."""
    log = counting.ledger.log
    if counting.raising_ms >= 0:
        return _finish(counting, now_ms)
    if log.counter is not None and log.intent == log.counter:
        return _intend(counting, log.counter, now_ms)
    ledger = counting.ledger
    if not counting.synced:
        # Read back after a restart it may not be durable either.
        try:
            ledger.journal.sync(ledger.lock)
        except Exception as error:  # noqa: BLE001  # whatever a flash driver raises
            ledger.fault("flash", "sync", error)
            counting.raise_after_ms = now_ms + LOOK_MS
            return False
        counting.synced = True
        return True
    try:
        counting.counter.begin()
    except Exception as error:  # noqa: BLE001  # whatever a key's driver raises
        return not_raised(counting, now_ms, error)
    counting.raising_ms = now_ms
    return True


def _intend(counting: "Counting", intent: int, now_ms: int) -> bool:
    ledger = counting.ledger
    log = ledger.log
    limit = counting.counter.limit
    if limit is not None and intent >= limit:
        if "counter:worn-out" not in ledger.failing:
            ledger.fault("counter", "worn-out")
        counting.raise_after_ms = now_ms + HOUR_MS
        return False
    counting.raise_after_ms = now_ms + LOOK_MS
    credit_ms = log.credit_ms
    log.intent = intent + 1
    log.credit_ms -= COST_MS
    counting.synced = False
    if not ledger.append_control(frame(log, now_ms)):
        log.intent = intent
        log.credit_ms = credit_ms
        return False
    counting.raise_after_ms = 0
    return True


def _finish(counting: "Counting", now_ms: int) -> bool:
    try:
        if not counting.counter.poll():
            if now_ms - counting.raising_ms <= RAISE_MS_MAX:
                return True
            raise KeyDriverError("slow", "the counter was not raised in time")  # noqa: TRY301  # as the driver's
        value = counting.counter.value()
        if value != counting.ledger.log.intent:
            raise KeyDriverError("not-raised", "the counter stands at %s" % value)  # noqa: TRY301  # as above
    except Exception as error:  # noqa: BLE001  # whatever a key's driver raises
        return not_raised(counting, now_ms, error)
    counting.raising_ms = -1
    raised(counting, value, now_ms)
    show(counting, value)
    return True
