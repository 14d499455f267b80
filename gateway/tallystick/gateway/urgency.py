"""Which segments are urgent, and where in the gateway's log they lie (docs/protocol.md, 6.2)."""

import threading
from collections import OrderedDict

from tallystick.evidence.kinds import ACCEPTED_HALF, CLAIM
from tallystick.gateway import limits

URGENT_KINDS = {bytes([CLAIM]), bytes([ACCEPTED_HALF])}


def is_urgent(last: bytes) -> bool:
    """Whether a segment is, by how its last record begins; empty where that is elided.

    Claims and accepted halves are sealed at once (docs/protocol.md, 4.1).
    """
    return last[1:2] in URGENT_KINDS


class Urgent:
    """Places of the log, in order; whoever took them in says so, each forwarder asks.

    Of more than it holds it forgets the oldest, which go in their order then. A place that a
    rolled back transaction gave may come to mean another segment: that one goes sooner, no more.
    """

    def __init__(self) -> None:
        self._places: OrderedDict[int, None] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, at: int) -> None:
        """The segment at this place is urgent."""
        with self._lock:
            self._places[at] = None
            if len(self._places) > limits.URGENT_KEPT_MAX:
                self._places.popitem(last=False)

    def beyond(self, at: int) -> list[int]:
        """The places from here on, ascending."""
        with self._lock:
            return sorted(place for place in self._places if place >= at)
