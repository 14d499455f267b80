# MicroPython only
# What a broker answers while mqtt_umqtt.py's connection is made; forgotten when that stands.

from tallystick.evidence.errors import TransportError
from tallystick.recorder.mqtt_umqtt import GREETING, SUBSCRIBING, UP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.recorder.mqtt_umqtt import Mqtt

CONNACK = 0x20
SUBACK = 0x90


def answered(up: "Mqtt", kind: int, packet: bytes) -> None:
    """CONNACK, then SUBACK; nothing else may come before them (MQTT 3.1.1, 3.2)."""
    if up._state == GREETING and kind == CONNACK and len(packet) == 4:
        if packet[3]:
            raise TransportError("refused", "the broker refused the connection")
        body = b"\x00\x01" + len(up._down).to_bytes(2, "big") + up._down + b"\x01"
        up._packet.write(bytes((0x82, len(body))) + body)
        up._state = SUBSCRIBING
    elif up._state == SUBSCRIBING and kind == SUBACK and len(packet) == 5:
        if packet[4] & 0x80:
            from tallystick.recorder.mqtt_reasons import not_allowed  # noqa: PLC0415  # rarely

            raise not_allowed(up._host)
        if up._secure is not None:
            up.undated = up._secure.established(up._sock)
            # Until the next connection, which may be days.
            up._secure = None
        up._state = UP
        up.opening = False
        up.connected = True
        up.session += 1
    elif up._state == GREETING:
        raise TransportError("refused", "the broker did not answer as one")
