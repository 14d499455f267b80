# The hardware counter against rollback (docs/protocol.md, section 3.1).  A journal that knows less
# than the chip was put back.  Loaded where the key has a counter; raising.py raises it.

from tallystick.evidence.errors import KeyDriverError
from tallystick.recorder.files import forget
from tallystick.recorder.frames import COUNTER, control
from tallystick.recorder.health import reason_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.hw.counter import Counter
    from tallystick.recorder.core import Log
    from tallystick.recorder.ledger import Ledger

# What one raise costs of the uptime that was saved up, so that no series of boots wears a chip out.
COST_MS = 900000
HOUR_MS = 3600000
YEAR_MS = 31557600000
LOOK_MS = 1000
RETRY_MS_MIN = 500
RETRY_MS_MAX = 60000
# What events and new epochs need, once in an hour.
RARE = ("recorder.epochs", "recorder.filing", "recorder.troubles", "evidence.eventwriter")


def frame(log: "Log", uptime_ms: int) -> bytes:
    """The journal's frame of intent and credit."""
    return control([COUNTER, log.intent, log.credit_ms, uptime_ms])


class Counting:
    """Compares the chip with the journal at boot, then has it raised: at boot, and each hour."""

    def __init__(
        self, ledger: "Ledger", counter: "Counter | None", config: "dict[str, Any]"
    ) -> None:
        self.ledger = ledger
        # None where the key could not say yet whether it has one.
        self.counter: "Any" = counter
        self._config = config
        self._reading: "Any" = None
        # Nothing is signed before the chip was compared with the journal.
        self.holds = True
        self._compared = False
        self._after_ms = 0
        self._retry_ms = RETRY_MS_MIN
        # Of raising.py.  A raise failed: whether the chip counted is read before the next one.
        self.unsure = False
        self.boot = True
        self.raised_ms = 0
        self.raising_ms = -1
        # Whether the intent is known to be on flash.
        self.synced = False
        self.raise_after_ms = 0
        self.raise_retry_ms = RETRY_MS_MIN

    def step(self, now_ms: int) -> bool:
        """One bounded piece of comparing or raising; False when there is nothing to do."""
        if self.raising_ms < 0:
            if now_ms < (self._after_ms if self.holds else self.raise_after_ms):
                return False
            if self.holds or self.unsure:
                return self._look(now_ms)
            if not self._due(now_ms):
                self.raise_after_ms = now_ms + LOOK_MS
                return False
        try:
            from tallystick.recorder import raising  # noqa: PLC0415  # forgotten again

            worked = raising.step(self, now_ms)
        except MemoryError:
            self.raise_after_ms = now_ms + LOOK_MS
            self.ledger.starved("counter")
            return False
        if self.raising_ms < 0 and self.ledger.log.intent == self.ledger.log.counter:
            forget(("recorder.raising",))
        return worked

    def _due(self, now_ms: int) -> bool:
        log = self.ledger.log
        if log.counter is None or log.intent != log.counter:
            return log.counter is not None
        log.passed(now_ms)
        wanted = self.boot or now_ms - self.raised_ms >= HOUR_MS
        return wanted and log.credit_ms >= COST_MS

    def compare(self, now_ms: int) -> None:
        """At boot: read the chip and act on it."""
        self._look(now_ms)
        while self._reading is not None:
            self._look(now_ms)
        forget(RARE)

    def _look(self, now_ms: int) -> bool:
        value = None
        try:
            if self.counter is None:
                self.counter = self.ledger.signer.counter()
            if self.counter is not None:
                if self._reading is None:
                    self._reading = self.counter.reader()
                if self._reading is None:
                    value = self.counter.read()
                elif self._reading.step():
                    value = self._reading.result
                else:
                    return True
        except Exception as error:  # noqa: BLE001  # whatever a key's driver raises
            self._reading = None
            return self._failed(now_ms, error)
        self._reading = None
        if self.counter is not None and (type(value) is not int or value < 0):
            wrong = KeyDriverError("bad-value", "the counter's value is no number")
            return self._failed(now_ms, wrong)
        try:
            self._compare(value, now_ms)
        except Exception as error:  # noqa: BLE001  # whatever a flash driver raises
            self.ledger.fault("flash", reason_of(error), error)
            self._after_ms = self.raise_after_ms = now_ms + LOOK_MS
        return True

    def _compare(self, value: "Any", now_ms: int) -> None:
        ledger = self.ledger
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
            if self._compared or not ledger.log.fresh:  # else a gateway was faster
                self._leave()
        self.holds = self.unsure = False
        self._compared = True
        self._retry_ms = RETRY_MS_MIN
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
            self.raised(value, now_ms)
        else:
            log.counter = value
        self.show(value)

    def _leave(self) -> None:
        from tallystick.recorder import epochs  # noqa: PLC0415  # rarely

        ledger = self.ledger
        ledger.fault("counter", "rollback")
        epochs.begin(ledger, "rollback", epochs.head_of(ledger.log))
        epochs.boot(ledger, self._config, {})

    def _failed(self, now_ms: int, error: Exception) -> bool:
        # Not readable: nothing is signed before it was compared once.
        if self.holds:
            self._after_ms = now_ms + self._retry_ms
            self._retry_ms = min(2 * self._retry_ms, RETRY_MS_MAX)
            self.ledger.health.key_ok = False
        return self.not_raised(now_ms, error)

    def not_raised(self, now_ms: int, error: Exception) -> bool:
        """A raise, or the look before it, failed; the journal is no older for it."""
        self.raising_ms = -1
        self.unsure = True
        self.raise_after_ms = now_ms + self.raise_retry_ms
        self.raise_retry_ms = min(2 * self.raise_retry_ms, 60 * RETRY_MS_MAX)
        self.ledger.fault("counter", reason_of(error), error)
        return False

    def raised(self, value: int, now_ms: int) -> None:
        """The chip stands at the intent."""
        ledger = self.ledger
        self.raise_retry_ms = RETRY_MS_MIN
        self.boot = False
        self.raised_ms = now_ms
        ledger.log.counter = value
        if ledger.failing:
            from tallystick.recorder.troubles import works  # noqa: PLC0415  # rarely

            works(ledger, "counter:")
        ledger.event("counter", {"value": value})
        forget(RARE)

    def show(self, value: int) -> None:
        """What is left of it."""
        health = self.ledger.health
        health.counter = value
        limit = self.counter.limit
        if limit is not None:
            health.counter_left = left = max(limit - value, 0)
            # At the worst: a raise for each COST_MS of uptime, without an end.
            health.counter_years = left * COST_MS // YEAR_MS
