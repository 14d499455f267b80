# When to seal: every so many records, so long after the first unsealed one, and at the declared
# interval when idle.  What is urgent is sealed by its caller.

# Other reasons to seal before a stretch grows too long for one segment or a small buffer.
STRETCH_BYTES_SEAL = 131072


class Policy:
    """records: at most so many a checkpoint; times in milliseconds."""

    def __init__(self, records: int, after_ms: int, interval_ms: int) -> None:
        self.records = records
        self.after_ms = after_ms
        self.interval_ms = interval_ms
        self.sealed_ms = 0
        self.first_ms = -1

    def added(self, now_ms: int) -> None:
        """A record was added to an empty stretch."""
        self.first_ms = now_ms

    def sealed(self, now_ms: int) -> None:
        """A payload was written."""
        self.sealed_ms = now_ms
        self.first_ms = -1

    def due(self, now_ms: int, unsealed: int, stretch_bytes: int) -> bool:
        """Whether it is time for a checkpoint."""
        if unsealed >= self.records or stretch_bytes >= STRETCH_BYTES_SEAL:
            return True
        if unsealed and self.first_ms >= 0 and now_ms - self.first_ms >= self.after_ms:
            return True
        return now_ms - self.sealed_ms >= self.interval_ms
