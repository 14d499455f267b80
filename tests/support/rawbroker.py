"""The few packets of a broker, said by hand: what a real one says seldom, or never twice alike.

It takes one client at a time, of MQTT 3.1.1 or 5 by its CONNECT. `acked` are the numbers that the
client acknowledged.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, DISCONNECT = 1, 2, 3, 4, 8, 9, 14
FIVE = 5
DUP_QOS_1 = 0b1010
QOS_1 = 0b0010


class RawBroker:
    """`versions`: the protocol levels that it takes (4 is 3.1.1); `mute`: it never answers.

    `curt`: to another version it says nothing and hangs up, as RabbitMQ 3.10 does to MQTT 5.
    """

    def __init__(
        self, versions: tuple[int, ...] = (4, FIVE), *, mute: bool = False, curt: bool = False
    ) -> None:
        self._versions = versions
        self._mute = mute
        self._curt = curt
        self._hears = threading.Event()
        self._hears.set()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self._line: socket.socket | None = None
        self._level = 4
        self.connects = 0
        self.acked: list[int] = []
        self.subscribed = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """Nobody listens any more."""
        self._door.close()
        if self._line is not None:
            self._line.close()

    def hang_up(self) -> None:
        """The line breaks; who connects again is welcome."""
        self._line.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]

    @contextlib.contextmanager
    def deaf(self) -> Iterator[None]:
        """It reads nothing meanwhile."""
        self._hears.clear()
        try:
            yield
        finally:
            self._hears.set()

    def publish(self, topic: str, payload: bytes, mid: int, *, dup: bool = False) -> None:
        """One message down to the client, with QoS 1."""
        name = topic.encode()
        properties = b"\0" if self._level == FIVE else b""
        body = len(name).to_bytes(2, "big") + name + mid.to_bytes(2, "big") + properties + payload
        self._say(PUBLISH, body, DUP_QOS_1 if dup else QOS_1)

    def _run(self) -> None:
        while True:
            try:
                self._line, _ = self._door.accept()
            except OSError:
                return
            with contextlib.suppress(OSError, IndexError):
                self._serve(self._line.makefile("rb"))

    def _serve(self, stream: object) -> None:
        while True:
            self._hears.wait()
            first = stream.read(1)[0]  # type: ignore[attr-defined]
            length = shift = 0
            while True:
                byte = stream.read(1)[0]  # type: ignore[attr-defined]
                length |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
            body = stream.read(length)  # type: ignore[attr-defined]
            if not self._mute:
                self._answer(first >> 4, body)

    def _answer(self, kind: int, body: bytes) -> None:
        if kind == CONNECT:
            self.connects += 1
            self._level = body[6]
            if self._level in self._versions:
                self._say(CONNACK, b"\0\0" + (b"\0" if self._level == FIVE else b""))
            else:
                if not self._curt:
                    self._say(CONNACK, b"\0\x84\0" if self._level == FIVE else b"\0\x01")
                self._line.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
        elif kind == SUBSCRIBE:
            properties = b"\0" if self._level == FIVE else b""
            self._say(SUBACK, body[:2] + properties + b"\1")
            self.subscribed.set()
        elif kind == PUBACK:
            self.acked.append(int.from_bytes(body[:2], "big"))

    def _say(self, kind: int, body: bytes, flags: int = 0) -> None:
        size, length = len(body), b""
        while True:
            size, byte = size >> 7, size & 127
            length += bytes([byte | (128 if size else 0)])
            if not size:
                break
        self._line.sendall(bytes([kind << 4 | flags]) + length + body)  # type: ignore[union-attr]
