"""The ways to a device as the ingest worker sees them: one broker, and serial ports beside it."""

from tallystick.gateway.broker import Broker
from tallystick.gateway.inbox import Delivery
from tallystick.gateway.serialhub import SerialHub


class Links:
    """What the worker acknowledges and sends, to where it belongs."""

    def __init__(self, broker: Broker, hub: SerialHub) -> None:
        self._broker = broker
        self._hub = hub

    def ack(self, group: list[Delivery]) -> None:
        """Acknowledge messages; those of serial ports have no number and need none."""
        self._broker.ack(group)

    def publish(self, device: bytes, data: bytes) -> bool:
        """Send a message down, wherever the device was heard; False when nowhere.

        A port says which devices speak on it and proves it for none. So it never takes a device's
        messages away from the broker; a device that is on a port only has no subscription there.
        """
        sent = self._hub.publish(device, data)
        if sent and not self._broker.connected:
            return True
        return self._broker.publish(device, data) or sent
