# CPython only
"""A virtual chip over TCP: several connections, one bus, one transfer at a time.

The frames are those of atecc608_tcp.py. Nothing authenticates the peers: it is a wire.
"""

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw.atecc608_tcp import (
    DONE,
    LOCK,
    NACK,
    READ,
    SCAN,
    TAKEN,
    TRANSFER_BYTES_MAX,
    UNLOCK,
    WRITE,
)
from tallystick.hw.virtual_atecc608.chip import VirtualAtecc608

CONNECTIONS_MAX = 16
LOCK_S_MAX = 10.0  # a peer that hangs must not keep the bus
# Nor a silent one its place, when another needs it. A recorder signs more often than this.
IDLE_S_MAX = 120.0
HEAD_BYTES = 4


class ChipServer(socketserver.ThreadingTCPServer):
    """Serves `chip` at (host, port); serve_forever() until shutdown()."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = CONNECTIONS_MAX

    def __init__(
        self,
        place: "tuple[str, int]",
        chip: VirtualAtecc608,
        report: "Callable[[str], None]" = lambda _: None,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        self.chip = chip
        self.report = report
        self._guard = threading.Lock()
        self._heard_s: "dict[socket.socket, float]" = {}  # when each connection last spoke
        self._holder: "object | None" = None
        self._held_until = 0.0
        super().__init__(place, _Connection)

    def process_request(self, request: "Any", client_address: "Any") -> None:
        """Take a connection, if there is a place for it or a silent one has it."""
        now_s = time.monotonic()
        with self._guard:
            full = len(self._heard_s) >= CONNECTIONS_MAX and not self._cut_silent(now_s)
            if not full:
                self._heard_s[request] = now_s
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def _cut_silent(self, now_s: float) -> bool:
        quietest = min(self._heard_s, key=self._heard_s.__getitem__)
        if now_s - self._heard_s[quietest] < IDLE_S_MAX:
            return False
        del self._heard_s[quietest]
        with contextlib.suppress(OSError):
            # It is open still: its thread closes it after gone(), which waits for the guard.
            quietest.shutdown(socket.SHUT_RDWR)
        return True

    def heard(self, link: socket.socket) -> None:
        """A connection spoke."""
        with self._guard:
            if link in self._heard_s:
                self._heard_s[link] = time.monotonic()

    def gone(self, peer: object, link: socket.socket) -> None:
        """A connection ended, and with it its hold on the bus."""
        with self._guard:
            self._heard_s.pop(link, None)
            if self._holder is peer:
                self._holder = None

    def transfer(self, peer: object, operation: int, address: int, size: int, data: bytes) -> bytes:
        """The answer to one request."""
        with self._guard:
            if self._holder not in (None, peer) and time.monotonic() < self._held_until:
                return _answer(TAKEN)
            try:
                return _answer(DONE, self._done(peer, operation, address, size, data))
            except OSError:
                return _answer(NACK)
            except KeyDriverError as error:
                self.report(error.message)
                return _answer(NACK)

    def _done(self, peer: object, operation: int, address: int, size: int, data: bytes) -> bytes:
        if operation == READ:
            return self.chip.readfrom(address, size)
        if operation == SCAN:
            return bytes(self.chip.scan())
        if operation == WRITE:
            self.chip.writeto(address, data)
        else:
            self._holder = peer if operation == LOCK else None
            self._held_until = time.monotonic() + LOCK_S_MAX
        return b""


def _answer(status: int, data: bytes = b"") -> bytes:
    return bytes((status,)) + len(data).to_bytes(2, "big") + data


class _Connection(socketserver.BaseRequestHandler):
    """Requests, one after the other; a peer that sends anything else is cut off."""

    request: socket.socket
    server: ChipServer

    def handle(self) -> None:
        """Until the peer goes."""
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):
            while True:
                operation, address, high, low = self._read(HEAD_BYTES)
                self.server.heard(self.request)
                size = high << 8 | low
                carries = size if operation == WRITE else 0
                known = operation in (WRITE, READ, SCAN, LOCK, UNLOCK)
                if not known or size > TRANSFER_BYTES_MAX:
                    break
                data = self._read(carries)
                answer = self.server.transfer(self, operation, address, size, data)
                self.request.sendall(answer)

    def finish(self) -> None:
        """Give the place and the bus back."""
        self.server.gone(self, self.request)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.request.recv(size - len(data))
            if not more:
                raise ConnectionResetError
            data += more
        return data


@contextlib.contextmanager
def serving(chip: VirtualAtecc608, host: str = "127.0.0.1", port: int = 0) -> "Iterator[int]":
    """Serve `chip` in a thread; gives the port."""
    with ChipServer((host, port), chip) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
