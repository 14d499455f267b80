# When to seal: every so many records, so long after the first unsealed one, and at the declared
# interval when idle.  What is urgent is sealed by its caller.

# Room of a stretch (core.STRETCH_ROOM) below which it is sealed before it must be.
ROOM_MIN = 122880


class Policy:
    """records: at most so many a checkpoint; times in milliseconds."""

    def __init__(self, records: int, after_ms: int, interval_ms: int) -> None:
        self.records = records
        self.after_ms = after_ms
        self.interval_ms = interval_ms
        self.sealed_ms = 0
        self.synced_ms = 0
        self.first_ms = -1

    def added(self, now_ms: int) -> None:
        """A record was added to an empty stretch."""
        self.first_ms = now_ms

    def sealed(self, now_ms: int) -> None:
        """A payload was written."""
        self.sealed_ms = now_ms
        self.first_ms = -1

    def sync_due(self, now_ms: int, unsealed: int) -> bool:
        """Whether it would be time for a checkpoint, if the key were not late."""
        if not unsealed or now_ms - self.synced_ms < self.after_ms:
            return False
        self.synced_ms = now_ms
        return True

    def due(self, now_ms: int, unsealed: int, room: int) -> bool:
        """Whether it is time for a checkpoint."""
        if unsealed >= self.records or room < ROOM_MIN:
            return True
        if unsealed and self.first_ms >= 0 and now_ms - self.first_ms >= self.after_ms:
            return True
        return now_ms - self.sealed_ms >= self.interval_ms
