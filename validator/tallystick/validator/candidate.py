"""Which of this log's checkpoints is sent to the witnesses now (docs/protocol.md, 8.4)."""

import threading
import time

from tallystick.validator.limits import COSIGN_EVERY_S
from tallystick.validator.receipts import Head, newest_head
from tallystick.validator.store import Store


class Candidate:
    """Which checkpoint is sent now: the same one to all, so that cosignatures meet on one size."""

    def __init__(self, store: Store, every_s: float = COSIGN_EVERY_S) -> None:
        self._store = store
        self._every_s = every_s
        self._lock = threading.Lock()
        self._head: Head | None = None
        self._at_s = -every_s

    def head(self) -> Head | None:
        """The newest published checkpoint of up to `every_s` ago."""
        with self._lock:
            now_s = time.monotonic()
            if self._head is None or now_s - self._at_s >= self._every_s:
                with self._store.read() as connection:
                    self._head = newest_head(connection)
                self._at_s = now_s
            return self._head
