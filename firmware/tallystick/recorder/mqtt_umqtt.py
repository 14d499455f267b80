# MicroPython only
# MQTT 3.1.1 by micropython-lib's umqtt.simple.  A segment is copied to the socket piece by piece,
# so the PUBLISH header is written here; what comes in, subscribing and pinging is umqtt's.

import select
import socket
import time

from umqtt.simple import MQTTClient, MQTTException

from tallystick.evidence.errors import TransportError
from tallystick.recorder.config import parse_uplink
from tallystick.recorder.uplink import Uplink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

KEEPALIVE_S = 30
# Nothing on the link may hold the control loop longer than this.
SOCKET_S_MAX = 5
IN_FLIGHT_MAX = 16
DOWN_MESSAGES_MAX = 4
PUBLISH_QOS1 = 0x32
PUBACK = 0x40
TCP_NODELAY = 1


class _Bounded:
    # A socket that umqtt makes blocking, and that still never blocks for ever.

    def __init__(self, raw: "Any", sock: "Any") -> None:
        self._raw = raw
        self._sock = sock
        self.read = sock.read
        self.write = sock.write
        self.close = sock.close

    def setblocking(self, blocking: bool) -> None:  # noqa: FBT001  # umqtt's call
        self._raw.settimeout(SOCKET_S_MAX if blocking else 0)


class _Client(MQTTClient):  # type: ignore[misc]  # umqtt ships no types
    # Connects over a socket of ours: without delay, bounded in time, with the certificate checked.

    def connect_over(self, sock: "Any", client_id: str) -> None:
        self.sock = sock
        body = b"\x00\x04MQTT\x04\x02" + KEEPALIVE_S.to_bytes(2, "big")
        body += len(client_id).to_bytes(2, "big") + client_id.encode()
        sock.write(bytes((0x10, len(body))) + body)
        answer = sock.read(4)
        if answer is None or len(answer) != 4 or answer[0] != 0x20 or answer[3]:
            raise TransportError("refused", "the broker refused the connection")


class Mqtt(Uplink):
    """Publishes to <prefix>/<device>/up with QoS 1, listens to <prefix>/<device>/down."""

    def __init__(self, config: "dict[str, Any]", device: str) -> None:
        self._scheme, self._host, self._port = parse_uplink(config["uplink"])
        self._tls = config["tls"]
        self._device = device
        self._up = ("%s/%s/up" % (config["prefix"], device)).encode()
        self._down = ("%s/%s/down" % (config["prefix"], device)).encode()
        self._client: "Any" = None
        self._poll: "Any" = None
        self._messages: list[bytes] = []
        self._in_flight = 0
        self._heard_ms = 0
        self._pinged_ms = 0
        self._id = 0
        self.connected = False
        self.session = 0

    def connect(self) -> None:
        """Blocks for at most a few times SOCKET_S_MAX, while the network answers."""
        self._drop()
        raw = socket.socket()
        try:
            address = socket.getaddrinfo(self._host, self._port)[0][-1]
            raw.settimeout(SOCKET_S_MAX)
            raw.connect(address)
            raw.setsockopt(getattr(socket, "IPPROTO_TCP", 6), TCP_NODELAY, 1)
            sock = raw
            if self._scheme == "mqtts":
                from tallystick.recorder.mqtt_tls import wrap  # noqa: PLC0415  # costs heap

                sock = wrap(raw, self._tls, self._host)
            client = _Client(self._device, self._host)
            client.set_callback(self._received)
            client.connect_over(_Bounded(raw, sock), self._device)
            client.subscribe(self._down, 1)
        except (OSError, MQTTException, AssertionError, IndexError, TypeError) as error:
            raw.close()
            # umqtt's own signs of a broker that went away in the middle of an answer.
            raise TransportError("no-link", "%s: %r" % (self._host, error))
        except TransportError:
            raw.close()
            raise
        self._client = client
        self._poll = select.poll()
        self._poll.register(raw, select.POLLIN)
        self._in_flight = 0
        self._heard_ms = self._pinged_ms = time.ticks_ms()  # type: ignore[attr-defined]  # its own
        self.connected = True
        self.session += 1

    def _received(self, topic: bytes, message: bytes) -> None:
        if topic == self._down and len(self._messages) < DOWN_MESSAGES_MAX:
            self._messages.append(message)

    def publish_pieces(self, size: int, pieces: "Iterable[bytes]") -> bool:
        """Streams; False while too many publishes wait for their PUBACK, which promises nothing."""
        if not self.connected or self._in_flight >= IN_FLIGHT_MAX:
            return False
        self._id = self._id % 65535 + 1
        topic = self._up
        rest = 2 + len(topic) + 2 + size
        header = bytearray((PUBLISH_QOS1,))
        while rest > 127:
            header.append(rest & 127 | 128)
            rest >>= 7
        header.append(rest)
        header += len(topic).to_bytes(2, "big") + topic + self._id.to_bytes(2, "big")
        try:
            sock = self._client.sock
            sock.setblocking(True)  # noqa: FBT003  # umqtt's form
            sock.write(header)
            for piece in pieces:
                sock.write(piece)
                size -= len(piece)
        except OSError as error:
            raise self._lost(error)
        if size:
            # The broker would take the next packet for the rest of this one.
            raise self._lost(OSError("wrong size"))
        self._in_flight += 1
        return True

    def receive(self) -> bytes | None:
        """The next message; also keeps the connection alive."""
        if self.connected and not self._messages:
            self._read()
        return self._messages.pop(0) if self._messages else None

    def _read(self) -> None:
        now = time.ticks_ms()  # type: ignore[attr-defined]  # MicroPython's
        client = self._client
        try:
            # TLS may hold bytes that the socket does not show, so it is always asked.
            if self._tls is not None or self._poll.poll(0):
                if client.check_msg() == PUBACK:
                    client.sock.read(3)
                    self._in_flight -= 1
                self._heard_ms = now
            quiet = time.ticks_diff(now, self._pinged_ms)  # type: ignore[attr-defined]  # its own
            if quiet > KEEPALIVE_S * 500:
                self._pinged_ms = now
                client.ping()
        except (OSError, MemoryError, AssertionError, IndexError, TypeError) as error:
            raise self._lost(error)

    def _lost(self, error: Exception) -> TransportError:
        self._drop()
        return TransportError("no-link", "%s: %r" % (self._host, error))

    def _drop(self) -> None:
        self.connected = False
        client = self._client
        self._client = None
        if client is not None:
            try:
                client.sock.close()
            except OSError:
                pass

    def refresh(self) -> None:
        """As close, without a word to a broker that may be gone."""
        self._drop()

    def close(self) -> None:
        """Disconnect."""
        if self._client is not None:
            try:
                self._client.sock.write(b"\xe0\x00")
            except OSError:
                pass
        self._drop()
