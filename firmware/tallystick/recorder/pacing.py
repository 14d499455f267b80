# How much may be sent: so many bytes a second, on every uplink alike.  Time comes from the link.

# What may be saved up while nothing is sent: a quarter of a second, and at least a frame.
BURST_MS = 250
BURST_BYTES_MIN = 256
# What is urgent does not wait: it is sent on credit, of which there is so much.
CREDIT_MS = 10000
MS_PER_S = 1000


class Bucket:
    """A token bucket; an uplink asks for `room()` and says what it took."""

    def __init__(self, bytes_s: int) -> None:
        self._bytes_s = bytes_s
        # In thousandths of bytes, so that a poll after a millisecond counts too.
        self._most = max(bytes_s * BURST_MS, BURST_BYTES_MIN * MS_PER_S)
        self._have = self._most
        self._now_ms = -1
        # Something urgent is among what waits.
        self.hurry = False

    def passed(self, now_ms: int) -> None:
        """It is this time by the recorder's uptime."""
        if 0 <= self._now_ms < now_ms:
            self._have = min(self._most, self._have + (now_ms - self._now_ms) * self._bytes_s)
        self._now_ms = now_ms

    def room(self) -> int:
        """Bytes that may go now."""
        credit = self._bytes_s * CREDIT_MS if self.hurry else 0
        return max(0, self._have + credit) // MS_PER_S

    def take(self, count: int) -> None:
        """So many went; of a message that goes as a whole more than there was room for."""
        self._have -= count * MS_PER_S
