"""What waits for the one writer: a line for each fleet, served in turn, so that none starves."""

import queue
import threading
from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")

# What the validator asks of itself: its own work has a line of its own.
OWN = ""
# Whoever is not known yet: all of them share one line, and one must not fill it for long.
STRANGERS = "?"


class Lanes(Generic[T]):
    """A bounded queue of lanes, each in its own order; the lanes take turns.

    So whoever sends a thousand delays who sends one by one at most.
    """

    def __init__(self, lane_max: int, total_max: int) -> None:
        self._lane_max = lane_max
        self._total_max = total_max
        self._ready = threading.Condition()
        # The lane that is served next stands first.
        self._lanes: OrderedDict[str, deque[T]] = OrderedDict()
        self._size = 0

    def put_nowait(self, item: T, lane: str) -> T | None:
        """Put it at the end of its lane; queue.Full when that is full.

        When all are full together, the longest lane gives its newest item up for a shorter one:
        it is returned, and its sender must be told.
        """
        with self._ready:
            own = self._lanes.get(lane)
            length = 0 if own is None else len(own)
            if length >= self._lane_max:
                raise queue.Full
            given_up = None
            if self._size >= self._total_max:
                longest = max(self._lanes.values(), key=len)
                if len(longest) <= length + 1:
                    raise queue.Full
                given_up = longest.pop()
                self._size -= 1
            if own is None:
                own = self._lanes[lane] = deque()
            own.append(item)
            self._size += 1
            self._ready.notify()
            return given_up

    def get(self, timeout: float | None = None) -> T:
        """The first of the lane whose turn it is; queue.Empty after `timeout` seconds."""
        with self._ready:
            if not self._ready.wait_for(lambda: self._size > 0, timeout):
                raise queue.Empty
            lane, items = self._lanes.popitem(last=False)
            item = items.popleft()
            self._size -= 1
            if items:
                self._lanes[lane] = items  # at the end: the others have their turn first
            return item

    def get_nowait(self) -> T:
        """As get; queue.Empty at once."""
        return self.get(0)

    def qsize(self) -> int:
        """How many wait."""
        with self._ready:
            return self._size

    def empty(self) -> bool:
        """Whether none waits."""
        return self.qsize() == 0
