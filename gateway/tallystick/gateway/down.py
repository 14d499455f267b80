"""Messages for devices that other threads than the worker make; the worker publishes them."""

import threading
from collections import deque

from tallystick.gateway import limits
from tallystick.gateway.inbox import Inbox


class Down:
    """A bounded queue of (device, message). paho wants to be published to from one thread."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._lock = threading.Lock()
        self._items: deque[tuple[bytes, bytes]] = deque()
        self.dropped = 0

    def put(self, messages: list[tuple[bytes, bytes]]) -> None:
        """Queue messages and wake the worker; what finds no room is counted and dropped.

        A device that misses one gets it again with its next hello, or does without: none of them
        is needed to free anything.
        """
        with self._lock:
            for item in messages:
                if len(self._items) >= limits.DOWN_MESSAGES_MAX:
                    self.dropped += 1
                else:
                    self._items.append(item)
        if messages:
            self._inbox.wake()

    def take(self, most: int) -> list[tuple[bytes, bytes]]:
        """At most so many, in order."""
        with self._lock:
            return [self._items.popleft() for _ in range(min(most, len(self._items)))]

    def __len__(self) -> int:
        return len(self._items)
