"""The bounded queue between the MQTT client's thread and the ingest worker."""

import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
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
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        # For who looks ahead: not woken by every message.
        self._behind = threading.Condition(lock)
        self._woken = False
        self._closed = False
        # Messages that ever left, and how far `ahead` has looked, counted in the same way.
        self._left = 0
        self._looked = 0
        self._busy = False  # who took a group has not come back yet
        self._shared = False

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
            if self._shared and self._unseen() >= limits.AHEAD_MESSAGES_MIN:
                self._behind.notify()
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
        messages_max = limits.GROUP_SHARED_MAX if self._shared else limits.GROUP_MESSAGES_MAX
        with self._changed:
            self._busy = False
            while not self._items and not self._woken and not self._closed:
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            self._woken = False
            while self._items and len(group) < messages_max:
                size += len(self._items[0].message.payload)
                if group and size > bytes_max:
                    break
                group.append(self._items.popleft())
            self._bytes -= sum(len(delivery.message.payload) for delivery in group)
            self._left += len(group)
            self._busy = bool(group)
            self._changed.notify_all()
            if self._shared and self._busy and self._unseen() >= limits.AHEAD_MESSAGES_MIN:
                self._behind.notify()
        return group

    # --- what lies behind the group that is worked on -----------------------------------------

    def share(self) -> None:
        """From now on somebody looks ahead: groups are smaller, so that something lies behind."""
        self._shared = True

    def _unseen(self) -> int:
        return self._left + len(self._items) - max(self._looked, self._left)

    def ahead(self, most: int, wait_s: float, claim: Callable[[list[Delivery]], None]) -> None:
        """Messages that wait while another group is worked on, each only once; they stay here.

        `claim` is called with them before any of them can be taken, and not when there are none.
        """
        until_s = time.monotonic() + wait_s
        with self._behind:
            while not (self._busy and self._unseen() >= limits.AHEAD_MESSAGES_MIN):
                left_s = until_s - time.monotonic()
                if self._closed or left_s <= 0:
                    return
                self._behind.wait(left_s)
            begin = max(self._looked, self._left) - self._left
            found = list(islice(self._items, begin, begin + most))
            self._looked = self._left + begin + len(found)
            claim(found)

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
            self._behind.notify_all()

    def __len__(self) -> int:
        return len(self._items)
