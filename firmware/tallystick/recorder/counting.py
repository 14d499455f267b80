# The hardware counter against rollback (docs/protocol.md, section 3.1).  A journal that knows less
# than the chip was put back.  Loaded where the key has a counter: what is known of it, and when it
# is looked at.  comparing.py looks, raising.py raises; both are forgotten again.

from tallystick.recorder.files import forget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.hw.counter import Counter
    from tallystick.recorder.ledger import Ledger

# What one raise costs of the uptime that was saved up, so that no series of boots wears a chip out.
COST_MS = 900000
HOUR_MS = 3600000
LOOK_MS = 1000
RETRY_MS_MIN = 500
RETRY_MS_MAX = 60000
# What is needed once in an hour, events and new epochs too.
RARE = (
    "recorder.raising",
    "recorder.comparing",
    "recorder.epochs",
    "recorder.filing",
    "recorder.troubles",
    "evidence.eventwriter",
)


class Counting:
    """Compares the chip with the journal at boot, then has it raised: at boot, and each hour."""

    def __init__(
        self, ledger: "Ledger", counter: "Counter | None", config: "dict[str, Any]"
    ) -> None:
        self.ledger = ledger
        # None where the key could not say yet whether it has one.
        self.counter: "Any" = counter
        self.config = config
        self.reading: "Any" = None
        # Nothing is signed before the chip was compared with the journal.
        self.holds = True
        self.compared = False
        self.after_ms = 0
        self.retry_ms = RETRY_MS_MIN
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
            if now_ms < (self.after_ms if self.holds else self.raise_after_ms):
                return False
            if not self.holds and not self.unsure and not self._due(now_ms):
                self.raise_after_ms = now_ms + LOOK_MS
                return False
        try:
            if self.raising_ms < 0 and (self.holds or self.unsure):
                return self._look(now_ms)
            from tallystick.recorder import raising  # noqa: PLC0415  # forgotten again

            worked = raising.step(self, now_ms)
        except MemoryError:
            self.after_ms = self.raise_after_ms = now_ms + LOOK_MS
            self.ledger.starved("counter")
            return False
        if self.raising_ms < 0 and self.ledger.log.intent == self.ledger.log.counter:
            forget(RARE)
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
        while self.reading is not None:
            self._look(now_ms)

    def _look(self, now_ms: int) -> bool:
        from tallystick.recorder.comparing import look  # noqa: PLC0415  # forgotten again

        worked = look(self, now_ms)
        if self.reading is None:
            del look
            forget(RARE)
        return worked
