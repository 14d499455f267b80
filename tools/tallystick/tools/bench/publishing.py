"""QoS 1 publishing with little work, so that the load takes little of the cores it shares.

By hand, because a client library's bookkeeping costs more than the rest of the sending: packets
are made before the clock runs, and a window of them is on its way (MQTT 3.1.1, 2.2, 3.1, 3.3, 3.4).
"""

import selectors
import socket
from collections.abc import Callable, Iterable
from types import TracebackType

from tallystick.tools.bench.result import BenchFailed

_CONNECT, _CONNACK, _PUBLISH, _DISCONNECT = 0x10, 0x20, 0x32, 0xE0
_CLEAN_SESSION = 2
_ACK_BYTES = 4
_READ_BYTES = 65_536
_SEND_BYTES = 262_144
WAIT_S = 1.0


def _packet(first: int, body: bytes) -> bytes:
    # The remaining length: 7 bits a byte, least first.
    size = len(body)
    head = bytearray([first])
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    head.append(size)
    return bytes(head) + body


def _text(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw


def packets(messages: Iterable[tuple[str, bytes]]) -> list[bytes]:
    """PUBLISH packets of (topic, message), numbered from 1 on."""
    return [
        _packet(_PUBLISH, _text(topic) + (number % 65_535 + 1).to_bytes(2, "big") + data)
        for number, (topic, data) in enumerate(messages)
    ]


class Publisher:
    """A connection that only publishes; a context manager."""

    def __init__(self, host: str, port: int, name: str, window: int) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._name = name
        self._window = window

    def __enter__(self) -> "Publisher":
        """Connect."""
        body = _text("MQTT") + bytes([4, _CLEAN_SESSION, 0, 0]) + _text(self._name)
        self._socket.sendall(_packet(_CONNECT, body))
        answer = self._socket.recv(_ACK_BYTES, socket.MSG_WAITALL)
        if len(answer) != _ACK_BYTES or answer[0] != _CONNACK or answer[3]:
            message = "the broker refused the bench's connection"
            raise BenchFailed("bench-failed", message)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Disconnect."""
        if error is None:
            self._socket.settimeout(WAIT_S)
            self._socket.sendall(bytes([_DISCONNECT, 0]))
        self._socket.close()

    def send(self, made: list[bytes], alive: Callable[[], None]) -> None:
        """Send all, `window` at most unacknowledged; `alive` is called while the broker waits."""
        self._socket.settimeout(0.0)
        acked_bytes = sent = 0
        left = memoryview(b"")
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            while acked_bytes < len(made) * _ACK_BYTES:
                room = acked_bytes // _ACK_BYTES + self._window - sent
                if not left and room > 0 and sent < len(made):
                    chosen = made[sent : sent + min(room, 16)]
                    sent += len(chosen)
                    left = memoryview(b"".join(chosen))
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if left else 0)
                selector.modify(self._socket, wanted)
                ready = selector.select(WAIT_S)
                if not ready:
                    alive()
                for _, events in ready:
                    if events & selectors.EVENT_WRITE:
                        left = left[self._socket.send(left[:_SEND_BYTES]) :]
                    if events & selectors.EVENT_READ:
                        acked_bytes += self._acked()

    def _acked(self) -> int:
        # Nothing is subscribed here, so acknowledgements are all that comes.
        data = self._socket.recv(_READ_BYTES)
        if not data:
            message = "the broker closed the bench's connection"
            raise BenchFailed("bench-failed", message)
        return len(data)
