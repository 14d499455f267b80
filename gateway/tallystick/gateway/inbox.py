"""The bounded queue between the MQTT client's thread and the ingest worker."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from tallystick.gateway import limits
from tallystick.gateway.ingest import Message

PUT_WAIT_S = 1.0


class Delivery(NamedTuple):
    """A message, and what its acknowledgement needs; `session` is the connection it came on."""

    message: Message
    mid: int
    qos: int
    session: int


class Inbox:
    """Messages in; groups out. A full inbox makes the client's thread wait: back-pressure.

    Bounded in bytes and in messages; unacknowledged messages stay with the broker.
    """

    def __init__(
        self,
        bytes_max: int = limits.INBOX_BYTES_MAX,
        messages_max: int = limits.INBOX_MESSAGES_MAX,
    ) -> None:
        self._bytes_max = bytes_max
        self._messages_max = messages_max
        self._items: deque[Delivery] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._woken = False
        self._closed = False

    def put(self, delivery: Delivery, alive: Callable[[], None]) -> bool:
        """Add one, waiting while full; `alive` is called while waiting. False when closed."""
        size = len(delivery.message.payload)
        with self._changed:
            while not self._closed and self._full(size):
                alive()
                self._changed.wait(PUT_WAIT_S)
            if self._closed:
                return False
            self._items.append(delivery)
            self._bytes += size
            self._changed.notify_all()
            return True

    def offer(self, delivery: Delivery) -> bool:
        """Add one, or say that there is no room: for what nobody would send again."""
        with self._changed:
            if self._closed or self._full(len(delivery.message.payload)):
                return False
        return self.put(delivery, lambda: None)

    def _full(self, size: int) -> bool:
        if not self._items:
            return False
        return self._bytes + size > self._bytes_max or len(self._items) >= self._messages_max

    def take(self, wait_s: float, bytes_max: int = limits.GROUP_BYTES_MAX) -> list[Delivery]:
        """The next group, in order, at least one; empty after `wait_s` or when woken."""
        until_s = time.monotonic() + wait_s
        group: list[Delivery] = []
        size = 0
        with self._changed:
            while not self._items and not self._woken and not self._closed:
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            self._woken = False
            while self._items and len(group) < limits.GROUP_MESSAGES_MAX:
                size += len(self._items[0].message.payload)
                if group and size > bytes_max:
                    break
                group.append(self._items.popleft())
            self._bytes -= sum(len(delivery.message.payload) for delivery in group)
            self._changed.notify_all()
        return group

    def topics(self) -> set[str]:
        """Whose messages wait."""
        with self._changed:
            return {delivery.message.topic for delivery in self._items}

    def wake(self) -> None:
        """Make `take` return at once: there is something else to do."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def close(self) -> None:
        """Take nothing in any more; nobody waits any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._items)
