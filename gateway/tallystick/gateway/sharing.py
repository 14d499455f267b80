"""Which of several gateways on one broker serves a device: the one of the highest weight.

Rendezvous hashing (Thaler and Ravishankar, 1998): every gateway hears every device and counts out
the same answer from the names alone. A device's messages go through one gateway, so their order is
kept; one gateway more or less moves only the devices that it gains or loses. While two gateways do
not agree yet on who takes part, a device has two or none: twice is known and harmless, and what
nobody took into custody its device keeps and sends again.
"""

import hashlib

from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import device_from_text

GATEWAYS_MAX = 64


def weight(gateway: str, device: bytes) -> bytes:
    """What the gateways of a site compare for a device."""
    return hashlib.sha256(gateway.encode() + b"\0" + device).digest()


def serving(gateways: tuple[str, ...], device: bytes) -> str:
    """The name of the gateway that serves a device."""
    return max(gateways, key=lambda name: (weight(name, device), name))


class Sharing:
    """One gateway's part; of everything where it shares with nobody."""

    def __init__(self, own: str, gateways: tuple[str, ...] = ()) -> None:
        self._own = own
        self._gateways = gateways
        self.others = 0  # messages left to another gateway

    def replace(self, gateways: tuple[str, ...]) -> None:
        """Others take part now."""
        self._gateways = gateways

    def elsewhere(self, device: bytes) -> bool:
        """Whether a device is another gateway's."""
        gateways = self._gateways
        return len(gateways) > 1 and serving(gateways, device) != self._own

    def leaves(self, topic: str) -> bool:
        """Whether a message on this topic is another gateway's; counted. A wrong topic is ours."""
        if len(self._gateways) < 2:
            return False
        parts = topic.rsplit("/", 2)
        try:
            device = device_from_text(parts[-2])
        except (TallyError, IndexError):
            return False
        if not self.elsewhere(device):
            return False
        self.others += 1
        return True
