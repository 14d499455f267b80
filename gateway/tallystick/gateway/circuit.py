"""The circuit breaker of one validator: closed, open, half-open. Pure: time comes as an argument.

    closed      batches go. FAILURES_MAX failures in a row open it; a time-out does so alone, and
                an answer of 429 or 503 that says when to come back (Retry-After)
    open        nothing goes. After a wait that doubles up to a bound it is half-open
    half-open   one batch of one segment goes. Its answer closes the circuit, anything else opens
                it again

It never ends: after any number of failures there is a next try.
"""

from tallystick.gateway import limits
from tallystick.gateway.backoff import Backoff

CLOSED = "closed"
OPEN = "open"
HALF_OPEN = "half-open"
STATES = (CLOSED, OPEN, HALF_OPEN)
FAILURES_MAX = 3
# Of an open circuit's bound at least this part is waited: jitter must not make it hammer.
_LEAST = 0.5


class Circuit:
    """For the thread of a forwarder; others read `state` and `since_ms`."""

    def __init__(self, now_ms: int, backoff: Backoff) -> None:
        self.state = CLOSED
        self.since_ms = now_ms
        self.failures = 0  # in a row
        self.opened = 0  # how often
        self.backoff = backoff

    def trying(self, now_ms: int) -> None:
        """The wait is over, and something is about to be sent."""
        if self.state == OPEN:
            self._become(HALF_OPEN, now_ms)

    def worked(self, now_ms: int) -> None:
        """A request was answered as it should be."""
        self.failures = 0
        self.backoff.reset()
        self._become(CLOSED, now_ms)

    def failed(self, now_ms: int, *, at_once: bool = False, after_s: float = 0.0) -> float:
        """A request failed; seconds to wait. `at_once`: do not send more to see it fail again.

        `after_s`: what the validator asked for (Retry-After); obeyed up to RETRY_AFTER_S_MAX.
        """
        self.failures += 1
        opens = at_once or self.failures >= FAILURES_MAX
        if opens or self.state != CLOSED:
            if self.state != OPEN:
                self.opened += 1
            self._become(OPEN, now_ms)
            wait_s = self.backoff.next_s(_LEAST)
        else:
            wait_s = self.backoff.next_s()
        return max(wait_s, min(after_s, limits.RETRY_AFTER_S_MAX))

    def _become(self, state: str, now_ms: int) -> None:
        if state != self.state:
            self.state = state
            self.since_ms = now_ms

    def told(self) -> dict[str, object]:
        """For the status."""
        return {"state": self.state, "since_ms": self.since_ms, "opened": self.opened}
