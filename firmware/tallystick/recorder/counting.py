# The hardware counter against rollback (docs/protocol.md, section 3.1).  A journal that knows less
# than the chip was put back.  Loaded where the key has a counter.

from tallystick.evidence.errors import KeyDriverError
from tallystick.recorder.frames import COUNTER, control
from tallystick.recorder.health import reason_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.hw.counter import Counter
    from tallystick.recorder.core import Log
    from tallystick.recorder.ledger import Ledger

HOUR_MS = 3600000
# What one raise costs of the uptime that was saved up, so that no series of boots wears a chip out.
COST_MS = 900000
YEAR_MS = 31557600000
LOOK_MS = 1000
RETRY_MS_MIN = 500
RETRY_MS_MAX = 60000
RAISE_RETRY_MS_MAX = 3600000
# A raise takes a chip some 25 ms.
RAISE_MS_MAX = 10000


def frame(log: "Log", uptime_ms: int) -> bytes:
    """The journal's frame of intent and credit."""
    return control([COUNTER, log.intent, log.credit_ms, uptime_ms])


class Counting:
    """Compares the chip with the journal at boot, then raises it: at boot, and each hour."""

    def __init__(
        self, ledger: "Ledger", counter: "Counter | None", config: "dict[str, Any]"
    ) -> None:
        self._ledger = ledger
        # None where the key could not say yet whether it has one.
        self._counter: "Any" = counter
        self._config = config
        self._reading: "Any" = None
        # A raise failed: whether the chip counted must be read before the next one.
        self._unsure = False
        # Nothing is signed before the chip was compared with the journal.
        self.holds = True
        self._compared = False
        self._behind = False
        self._worn = False
        self._boot = True
        self._raised_ms = 0
        self._raising_ms = -1
        # Whether the intent is known to be on flash.
        self._synced = False
        self._after_ms = 0
        self._retry_ms = RETRY_MS_MIN
        self._raise_after_ms = 0
        self._raise_retry_ms = RETRY_MS_MIN

    def step(self, now_ms: int) -> bool:
        """One bounded piece of comparing or raising; False when there is nothing to do."""
        if self._raising_ms >= 0:
            return self._finish(now_ms)
        if now_ms < (self._after_ms if self.holds else self._raise_after_ms):
            return False
        if self.holds or self._unsure:
            return self._look(now_ms)
        return self._raise(now_ms)

    def _look(self, now_ms: int) -> bool:
        # As compare(), in bounded pieces where the chip takes its time.
        try:
            if self._counter is None:
                self._counter = self._ledger.signer.counter()
            if self._reading is None and self._counter is not None:
                self._reading = self._counter.reader()
            if self._reading is not None:
                if not self._reading.step():
                    return True
                value = self._reading.result
                self._reading = None
                return self._compare(value, now_ms, begun=True)
        except Exception as error:  # noqa: BLE001  # whatever a key's driver raises
            self._reading = None
            return self._failed(now_ms, error)
        return self.compare(now_ms, begun=True)

    # Comparing.

    def compare(self, now_ms: int, *, begun: bool = False) -> bool:
        """Read the chip and act on it; `begun`: the boot was recorded. False: not readable."""
        try:
            if self._counter is None:
                self._counter = self._ledger.signer.counter()
            value = None if self._counter is None else self._counter.read()
        except Exception as error:  # noqa: BLE001  # whatever a key's driver raises
            return self._failed(now_ms, error)
        return self._compare(value, now_ms, begun=begun)

    def _compare(self, value: "Any", now_ms: int, *, begun: bool) -> bool:
        ledger = self._ledger
        if value is None and self._counter is None:
            # It was there: the journal goes on without it, and checkpoints say null.
            self.holds = False
            ledger.counting = None
            if ledger.log.intent is not None:
                ledger.fault("counter", "missing")
            return True
        if type(value) is not int or value < 0:
            wrong = KeyDriverError("bad-value", "the counter's value is no number")
            return self._failed(now_ms, wrong)
        self._retry_ms = RETRY_MS_MIN
        log = ledger.log
        intent = log.intent
        if intent is not None and value > intent and log.fresh and not self._compared:
            # A gateway was faster: the older image's epoch was left already.
            intent = None
        if intent is not None and value > intent:
            # Somebody raised it after this journal was written: this is an older image.
            try:
                self._leave(begun=begun)
            except Exception as error:  # whatever a flash driver raises
                if not begun:
                    raise
                ledger.fault("flash", reason_of(error), error)
                self._after_ms = now_ms + LOOK_MS
                return False
            intent = None
        self.holds = self._unsure = False
        self._compared = True
        log = ledger.log
        if intent is None:
            self._take(value, now_ms)
        elif value < intent - 1:
            # No chip counts back: this one is another, or no such chip.  The log is right.
            self._behind = True
            log.counter = None
            ledger.fault("counter", "behind")
        elif log.counter is not None and log.counter < value:
            # The chip did it, and its answer was lost.
            self._raised(value, now_ms)
        else:
            log.counter = value
        self._show(value)
        return True

    def _leave(self, *, begun: bool) -> None:
        from tallystick.recorder import epochs  # noqa: PLC0415  # rarely

        ledger = self._ledger
        ledger.fault("counter", "rollback")
        epochs.begin(ledger, "rollback", epochs.head_of(ledger.log))
        if begun:
            epochs.boot(ledger, self._config)

    def _take(self, value: int, now_ms: int) -> None:
        # The first value that this log knows, and with it the first intent.
        log = self._ledger.log
        log.intent = log.counter = value
        self._ledger.append_control(frame(log, now_ms))
        self._ledger.event("counter", {"value": value})

    # Raising.

    def _raise(self, now_ms: int) -> bool:
        log = self._ledger.log
        if log.counter is None or log.intent is None:
            self._raise_after_ms = now_ms + LOOK_MS
            return False
        if log.intent == log.counter:
            return self._intend(log, log.intent, now_ms)
        if not self._synced:
            # Read back after a restart it may not be durable either.
            try:
                self._ledger.journal.sync(self._ledger.lock)
            except Exception as error:  # noqa: BLE001  # whatever a flash driver raises
                self._ledger.fault("flash", "sync", error)
                self._raise_after_ms = now_ms + LOOK_MS
                return False
            self._synced = True
            return True
        try:
            self._counter.begin()
        except Exception as error:  # noqa: BLE001  # whatever a key's driver raises
            return self._not_raised(now_ms, error)
        self._raising_ms = now_ms
        return True

    def _intend(self, log: "Log", intent: int, now_ms: int) -> bool:
        log.passed(now_ms)
        limit = self._counter.limit
        if limit is not None and intent >= limit and not self._worn:
            self._worn = True
            self._ledger.fault("counter", "worn-out")
        due = self._boot or now_ms - self._raised_ms >= HOUR_MS
        if self._worn or not due or log.credit_ms < COST_MS:
            self._raise_after_ms = now_ms + LOOK_MS
            return False
        credit_ms = log.credit_ms
        log.intent = intent + 1
        log.credit_ms -= COST_MS
        self._synced = False
        if not self._ledger.append_control(frame(log, now_ms)):
            log.intent = intent
            log.credit_ms = credit_ms
            self._raise_after_ms = now_ms + LOOK_MS
            return False
        return True

    def _finish(self, now_ms: int) -> bool:
        ledger = self._ledger
        log = ledger.log
        try:
            if not self._counter.poll():
                if now_ms - self._raising_ms <= RAISE_MS_MAX:
                    return True
                raise KeyDriverError("slow", "the counter was not raised in time")  # noqa: TRY301  # as the driver's
            value = self._counter.value()
            if value != log.intent:
                raise KeyDriverError("not-raised", "the counter stands at %s" % value)  # noqa: TRY301  # as above
        except Exception as error:  # noqa: BLE001  # whatever a key's driver raises
            return self._not_raised(now_ms, error)
        self._raising_ms = -1
        self._raised(value, now_ms)
        self._show(value)
        return True

    def _raised(self, value: int, now_ms: int) -> None:
        ledger = self._ledger
        self._raise_retry_ms = RETRY_MS_MIN
        self._boot = False
        self._raised_ms = now_ms
        ledger.log.counter = value
        if ledger.failing:
            from tallystick.recorder.troubles import works  # noqa: PLC0415  # rarely

            works(ledger, "counter:")
        ledger.event("counter", {"value": value})

    def _not_raised(self, now_ms: int, error: Exception) -> bool:
        # Nobody knows whether it was.  The journal is no older for it, so signing goes on.
        self._raising_ms = -1
        self._unsure = True
        self._raise_after_ms = now_ms + self._raise_retry_ms
        self._raise_retry_ms = min(2 * self._raise_retry_ms, RAISE_RETRY_MS_MAX)
        self._ledger.fault("counter", reason_of(error), error)
        return False

    def _failed(self, now_ms: int, error: Exception) -> bool:
        # Not readable: nothing is signed before it was compared once.
        if not self.holds:
            return self._not_raised(now_ms, error)
        ledger = self._ledger
        self._after_ms = now_ms + self._retry_ms
        self._retry_ms = min(2 * self._retry_ms, RETRY_MS_MAX)
        ledger.health.key_ok = False
        ledger.fault("counter", reason_of(error), error)
        return False

    def _show(self, value: int) -> None:
        health = self._ledger.health
        health.counter = value
        limit = self._counter.limit
        if limit is not None:
            health.counter_left = max(limit - value, 0)
            # At the worst: a raise for each COST_MS of uptime, without an end.
            health.counter_years = health.counter_left * COST_MS // YEAR_MS
