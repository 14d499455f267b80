"""Halves over MQTT, on topics of their own, with the TLS that the robot's uplink has.

    python halves_mqtt.py giver    CONFIG PEER_ID
    python halves_mqtt.py receiver CONFIG PEER_ID

A robot listens to tallystick/1/halves/<its id> and publishes to its peer's. In the broker's access
list, where the user is the robot's id (docs/operations.md):

    pattern read tallystick/1/halves/%u
    pattern write tallystick/1/halves/+

The broker is that of `uplink`; robots of two companies need one that both reach.
"""

import sys

from halves import Timer, handover  # type: ignore[import-not-found]  # beside this one

from tallystick.evidence.errors import TransportError
from tallystick.recorder import config as settings
from tallystick.recorder.uplink import open_uplink

TOPIC = "tallystick/1/halves/"
PAUSE_S_MIN = 0.5
PAUSE_S_MAX = 30


class Topics:
    """A link of two topics. It connects, and sends, in steps of receive()."""

    def __init__(self, own: str, peer: str, config: str) -> None:
        # Another client than the recorder's: a broker ends the one that has the same name.
        topics = (TOPIC + peer, TOPIC + own)
        self._mqtt = open_uplink(settings.load(config), own + "-halves", topics)
        self._timer = Timer()
        self._pause_s = PAUSE_S_MIN
        self._at_s = 0.0
        self._half = b""

    def send(self, half: bytes) -> None:
        """As soon as there is a connection; one that waits is replaced."""
        self._half = half

    def receive(self) -> bytes | None:
        """One bounded piece of work, and what came."""
        mqtt = self._mqtt
        try:
            if mqtt.opening or mqtt.connected:
                mqtt.step()
            elif self._timer.passed() >= self._at_s:
                self._at_s = self._timer.passed() + self._pause_s
                self._pause_s = min(2 * self._pause_s, PAUSE_S_MAX)
                mqtt.connect()
            if mqtt.connected and self._half and mqtt.publish(self._half):
                self._half = b""
            return mqtt.receive() if mqtt.connected else None
        except TransportError as error:
            print("no link:", error.reason)
            return None

    def close(self) -> None:
        self._mqtt.close()


if __name__ == "__main__":
    sys.exit(handover(Topics, *sys.argv[1:4]))
