# MicroPython only
# How mqtt_umqtt.py's connection begins: TCP, TLS, CONNECT.  Apart, because it is needed once a
# connection, which may last for months: forgotten before hands are shaken.

import select
import socket

from umqtt.simple import MQTTClient

from tallystick.evidence.errors import TransportError
from tallystick.recorder.mqtt_packet import Packet
from tallystick.recorder.mqtt_umqtt import (
    CONNECTING,
    GREETING,
    KEEPALIVE_S,
    LOOKING,
    now,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.recorder.mqtt_umqtt import Mqtt

TCP_NODELAY = 1
EINPROGRESS = (115, 119)  # Linux and lwIP; newlib


def connect(up: "Mqtt") -> None:
    """Look the name up, which may wait, and begin to connect, which does not."""
    try:
        address = socket.getaddrinfo(up._host, up._port)[0][-1]
        up._raw = raw = socket.socket()
        raw.setblocking(False)  # noqa: FBT003  # MicroPython's form
        try:
            raw.connect(address)
        except OSError as error:
            if error.args[0] not in EINPROGRESS:
                raise
    except (OSError, IndexError) as error:
        up._drop()
        raise TransportError("no-link", "%s: %r" % (up._host, error))
    up._packet = Packet()
    up._client = MQTTClient(up._device, up._host)
    up._client.sock = up._packet
    up._client.set_callback(up._received)
    # What goes out now, how much of it has gone, and the rest of a segment.
    up._chunk = b""
    up._chunk_at = 0
    # What was offered and not taken: TLS wants the same again, and no more.
    up._offered = 0
    up._pieces = None
    up._pieces_bytes = 0
    # What comes in now: the header's bytes, then the packet and how much of it is here.
    up._head = b""
    up._body = bytearray()
    up._body_at = -1
    up._in_flight = 0
    up._opened_ms = up._moved_ms = up._heard_ms = up._pinged_ms = now()
    up._state = CONNECTING
    up.opening = True


def greet(up: "Mqtt") -> bool:
    """Once the network answered, or said no: TLS where it is asked for, and CONNECT."""
    poll = select.poll()
    poll.register(up._raw, select.POLLOUT)
    if not poll.poll(0):
        return False
    raw = up._raw
    raw.setsockopt(getattr(socket, "IPPROTO_TCP", 6), TCP_NODELAY, 1)
    up._sock = raw
    if up._scheme == "mqtts":
        from tallystick.recorder.mqtt_tls import Secure  # noqa: PLC0415  # costs heap

        if up._secure is None:
            up._secure = Secure(up._tls, up._host)
        up._sock = up._secure.wrap(raw)
        if up._secure.looks:
            up._state = LOOKING
            return True
    name = up._device.encode()
    body = b"\x00\x04MQTT\x04\x02" + KEEPALIVE_S.to_bytes(2, "big")
    body += len(name).to_bytes(2, "big") + name
    up._packet.write(bytes((0x10, len(body))) + body)
    up._state = GREETING
    return True
