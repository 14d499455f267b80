"""How often the door for segments is used: by each gateway, and by each place that is no gateway.

A gateway is known by its signature alone, so a stranger's requests are never counted as those of
one. They are counted by where they come from: what came of a gateway is given back there.
"""

from tallystick.validator.limits import (
    PUBLICATION_SENDERS_MAX,
    PUBLICATIONS_PER_SENDER_BURST,
    PUBLICATIONS_PER_SENDER_PER_S,
)
from tallystick.validator.problem import Problem
from tallystick.validator.publication import Bucket, network_of

# A gateway with a bad disk has thousands of segments to ask for, at one read each.
GATEWAY_PER_S = 4.0
GATEWAY_BURST = 16.0


class SegmentPace:
    """For the thread of the event loop."""

    def __init__(self) -> None:
        self._places: dict[str, Bucket] = {}
        self._gateways: dict[bytes, Bucket] = {}

    def arrives(self, address: str) -> Bucket:
        """Counted against its place until somebody signed it; Problem where there were too many."""
        place = network_of(address)
        own = self._places.pop(place, None)
        if own is None:
            own = Bucket(PUBLICATIONS_PER_SENDER_PER_S, PUBLICATIONS_PER_SENDER_BURST)
            if len(self._places) >= PUBLICATION_SENDERS_MAX:
                del self._places[next(iter(self._places))]
        self._places[place] = own
        return _one(own)

    def signed(self, place: Bucket, gateway: bytes) -> None:
        """It is this gateway's; Problem where that has asked too often."""
        place.left += 1
        own = self._gateways.get(gateway)
        if own is None:
            # As many as are enrolled.
            own = self._gateways[gateway] = Bucket(GATEWAY_PER_S, GATEWAY_BURST)
        _one(own)


def _one(bucket: Bucket) -> Bucket:
    if not bucket.fill():
        raise Problem("over-quota", "too many requests for segments; ask again later")
    bucket.left -= 1
    return bucket
