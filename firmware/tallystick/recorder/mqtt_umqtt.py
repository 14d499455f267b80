# MicroPython only
# MQTT 3.1.1 by micropython-lib's umqtt.simple, over a socket that never waits: umqtt reads whole
# packets from memory and writes into memory, and step() and receive() move a bounded number of
# bytes between that and the socket.

import time

from tallystick.evidence.errors import TransportError
from tallystick.recorder.files import forget
from tallystick.recorder.uplink import Uplink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

KEEPALIVE_S = 30
# To connect, shake hands and subscribe; and without a byte taken or heard.
OPEN_MS_MAX = 20000
STALL_MS_MAX = 45000
# Handed to, or taken from, the socket in one step.
SLICE_BYTES = 2048
# Taken in one step; all but one of them are acknowledgements.
PACKETS_MAX = 4
PACKET_BYTES_MAX = 66048
IN_FLIGHT_MAX = 16
DOWN_MESSAGES_MAX = 4
PUBLISH_QOS1 = 0x32
PUBACK = 0x40
PUBLISH = 0x30
RETAIN = 1
TYPE_BITS = 0xF0
OPENING = (
    "recorder.mqtt_opening",
    "recorder.mqtt_answers",
    "recorder.mqtt_tls",
    "recorder.clockput",
)
# What a connection goes through; LOOKING only where the dates of the broker's certificate must be
# known before it can be checked (recorder/mqtt_tls.py).
CLOSED, CONNECTING, LOOKING, GREETING, SUBSCRIBING, UP = range(6)


def now() -> int:
    """Milliseconds of this board's own count."""
    return time.ticks_ms()  # type: ignore[attr-defined,no-any-return]  # MicroPython's


def _since(then: int) -> int:
    return time.ticks_diff(now(), then)  # type: ignore[attr-defined,no-any-return]  # its own


class Mqtt(Uplink):
    """Publishes to <prefix>/<device>/up with QoS 1, listens to <prefix>/<device>/down.

    `topics`: (up, down), where they are others.
    """

    # What one connection has: mqtt_opening.py makes it.
    _packet: "Any"
    _client: "Any"
    _chunk: bytes
    _chunk_at: int
    _offered: int
    _pieces: "Iterator[bytes] | None"
    _pieces_bytes: int
    _head: bytes
    _body: bytearray
    _body_at: int
    _in_flight: int
    _opened_ms: int
    _moved_ms: int
    _heard_ms: int
    _pinged_ms: int

    def __init__(
        self, config: "dict[str, Any]", device: str, topics: "tuple[str, str] | None" = None
    ) -> None:
        from tallystick.recorder.config import parse_uplink  # noqa: PLC0415  # forgotten again

        self._scheme, self._host, self._port = parse_uplink(config["uplink"])
        del parse_uplink
        forget(("recorder.config",))
        self._tls = config["tls"]
        self._device = device
        own = config["prefix"] + "/" + device
        up, down = topics or (own + "/up", own + "/down")
        self._up = up.encode()
        self._down = down.encode()
        self._state = CLOSED
        self._raw: "Any" = None
        self._sock: "Any" = None
        # The TLS of this connection.
        self._secure: "Any" = None
        self._messages: list[bytes] = []
        self._id = 0
        self.connected = False
        self.session = 0

    def connect(self) -> None:
        """Look the name up, which may wait, and begin to connect, which does not."""
        self._drop()
        try:
            self._begin()
        except TransportError:
            self._secure = None
            forget(OPENING)
            raise

    def _begin(self) -> None:
        from tallystick.recorder.mqtt_opening import connect  # noqa: PLC0415  # forgotten again

        connect(self)

    def _greet(self) -> bool:
        from tallystick.recorder.mqtt_opening import greet  # noqa: PLC0415  # as above

        return greet(self)

    def _answered(self, kind: int, packet: bytes) -> None:
        from tallystick.recorder.mqtt_answers import answered  # noqa: PLC0415  # as above

        answered(self, kind, packet)

    # Moving bytes.

    def step(self) -> bool:
        """A bounded piece of connecting or sending."""
        if self._state == CLOSED:
            return False
        try:
            return self._step()
        except Exception as error:  # noqa: BLE001  # sockets and TLS of many ports
            told = self._lost(error)
            if told is not None:
                raise told
            return True

    def _step(self) -> bool:
        if self._state == CONNECTING:
            worked = self._greet()
            if worked:
                forget(("recorder.mqtt_opening",))
        elif self._state == LOOKING:
            worked = self._secure.look(self._sock)
        else:
            worked = self._write()
            if self._state != UP:
                worked = self._read() or worked
        if self._state != UP and _since(self._opened_ms) > OPEN_MS_MAX:
            raise OSError("timed out")
        if self._waiting() and _since(self._moved_ms) > STALL_MS_MAX:
            raise OSError("stalled")
        return worked

    def _waiting(self) -> bool:
        return self._chunk_at < len(self._chunk) or self._pieces is not None

    def _write(self) -> bool:
        # At most SLICE_BYTES.
        room = SLICE_BYTES
        bucket = self.bucket if self._state == UP else None
        if bucket is not None:
            room = min(room, bucket.room())
            if not room:
                self._moved_ms = now()
        moved = 0
        while moved < room and (self._chunk_at < len(self._chunk) or self._next_chunk()):
            size = self._offered or min(room - moved, len(self._chunk) - self._chunk_at)
            count = self._sock.write(
                memoryview(self._chunk)[self._chunk_at : self._chunk_at + size]
            )
            if not count:
                self._offered = size
                break
            self._offered = 0
            self._chunk_at += count
            moved += count
        if moved and bucket is not None:
            bucket.take(moved)
        if moved:
            self._moved_ms = now()
        return moved > 0

    def _next_chunk(self) -> bool:
        self._moved_ms = now()
        self._chunk_at = 0
        if self._pieces is not None:
            try:
                self._chunk = next(self._pieces)
            except StopIteration:
                self._pieces = None
                self.busy = False
                if self._pieces_bytes:
                    # The broker would take the next packet for the rest of this one.
                    raise OSError("wrong size")
            else:
                self._pieces_bytes -= len(self._chunk)
                return True
        # Between two messages only: acknowledgements, pings, and what opens the connection.
        self._chunk = bytes(self._packet.out)
        self._packet.out = bytearray()
        return bool(self._chunk)

    def _read(self) -> bool:
        # At most SLICE_BYTES of a packet; True when something came.
        while self._body_at < 0:
            # The header is byte by byte: what follows it must not be taken with it.
            data = self._sock.read(1)
            if not self._heard(data):
                return False
            self._head += data
            if len(self._head) > 1 and (not data[0] & 0x80 or len(self._head) == 5):
                self._begin_body()
        if self._body_at < len(self._body):
            view = memoryview(self._body)[self._body_at : self._body_at + SLICE_BYTES]
            count = self._sock.readinto(view)
            if not self._heard(count):
                return False
            self._body_at += count
        if self._body_at == len(self._body):
            packet = bytes(self._body)
            kind = self._head[0]
            self._head = b""
            self._body = bytearray()
            self._body_at = -1
            self._packet_came(kind, packet)
        return True

    def _heard(self, what: "Any") -> bool:
        if what is None:
            return False
        if not what:
            raise OSError("the broker closed the connection")
        self._heard_ms = now()
        return True

    def _begin_body(self) -> None:
        size = 0
        for at, byte in enumerate(self._head[1:]):
            size |= (byte & 0x7F) << (7 * at)
        if self._head[-1] & 0x80 or size > PACKET_BYTES_MAX:
            raise OSError("a packet that is too long")
        self._body = bytearray(len(self._head) + size)
        self._body[: len(self._head)] = self._head
        self._body_at = len(self._head)

    def _packet_came(self, kind: int, packet: bytes) -> None:
        if self._state != UP:
            self._answered(kind, packet)
            if self._state == UP:
                forget(OPENING)
        elif kind == PUBACK:
            self._in_flight -= 1
        elif kind & TYPE_BITS != PUBLISH or not kind & RETAIN:
            # A retained message is nothing that anyone said now.
            self._packet.load(packet)
            self._client.wait_msg()
            self._packet.load(b"")

    def _received(self, topic: bytes, message: bytes) -> None:
        if topic == self._down and len(self._messages) < DOWN_MESSAGES_MAX:
            self._messages.append(message)

    # Messages.

    def publish_pieces(self, size: int, pieces: "Any") -> bool:
        """Sent by step() from now on; False while a message, or its PUBACK, is waited for."""
        if not self.connected or self._pieces is not None or self._in_flight >= IN_FLIGHT_MAX:
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
        self._moved_ms = now()
        # After what waits already: a packet is never cut by another one.
        self._packet.out += header
        self._chunk = bytes(self._chunk[self._chunk_at :]) + bytes(self._packet.out)
        self._chunk_at = 0
        self._packet.out = bytearray()
        self._pieces = iter(pieces)
        self._pieces_bytes = size
        self._in_flight += 1
        self.busy = True
        return True

    def receive(self) -> bytes | None:
        """The next message; also keeps the connection alive."""
        if self.connected and not self._messages:
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001  # umqtt's too, over a packet that is wrong
                raise self._lost(error) or error
        return self._messages.pop(0) if self._messages else None

    def _listen(self) -> None:
        for _ in range(PACKETS_MAX):
            if not self._read() or self._messages:
                break
        if _since(self._pinged_ms) > KEEPALIVE_S * 500:
            self._pinged_ms = now()
            self._client.ping()
        if _since(self._heard_ms) > STALL_MS_MAX:
            raise OSError("silent")

    # The end.

    def _lost(self, error: Exception) -> TransportError | None:
        from tallystick.recorder import mqtt_reasons  # noqa: PLC0415  # rarely

        state, secure = self._state, self._secure
        phase = mqtt_reasons.UP
        if secure is not None and state in (LOOKING, GREETING):
            spoken = secure.spoken(self._sock, self._raw)
            phase = mqtt_reasons.GREETING if spoken else mqtt_reasons.SHAKING
        self._drop()
        told = mqtt_reasons.of_error(error, self._host, phase)
        forget(("recorder.mqtt_reasons",))
        if secure is not None and secure.failed(told.reason):
            self.connect()
            return None
        # The next connection begins with all the room that there is.
        self._secure = None
        forget(OPENING)
        return told

    def _drop(self) -> None:
        self.connected = False
        self._state = CLOSED
        self.opening = self.busy = False
        self._pieces = None
        for sock in (self._sock, self._raw):
            if sock is not None:
                try:
                    sock.close()
                except OSError:
                    pass
        self._sock = self._raw = None
        if self._secure is not None:
            self._secure.ended()

    def refresh(self) -> None:
        """As close, without a word to a broker that may be gone."""
        self._drop()

    def close(self) -> None:
        """Disconnect."""
        if self.connected and not self._waiting():
            try:
                self._sock.write(b"\xe0\x00")
            except OSError:
                pass
        self._drop()
