"""The line to one validator, on loopback, as bad as a test says: down, mute, dripping, flapping.

What a gateway sends always arrives, unless the line is down: the validator commits. What comes back
is what suffers.
"""

import socket
import threading
from urllib.parse import urlsplit

GOOD = "good"
DOWN = "down"  # connections are closed at once
MUTE = "mute"  # the answer is swallowed, and the connection stays
DRIP = "drip"  # a byte of the answer now and then
FLAP = "flap"  # every second answer is cut off in its middle
DRIP_S = 0.05
CHUNK = 65_536


class BadLine:
    """A relay to `url`; `how` may be changed at any time, `heal` ends what it holds up."""

    def __init__(self, url: str) -> None:
        self.how = GOOD
        self.answers: list[bytes] = []  # each that the validator began, as far as it was read
        self.connections = 0
        to = urlsplit(url)
        assert to.hostname is not None
        assert to.port is not None
        self._to = (to.hostname, to.port)
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        self._held: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def heal(self) -> None:
        """All is well from now on; who waits for an answer that was lost is cut off."""
        self.how = GOOD
        self._cut()

    def close(self) -> None:
        """Nobody listens any more."""
        self._ended.set()
        self._door.close()
        self._cut()

    def _cut(self) -> None:
        with self._lock:
            held = list(self._held)
        for one in held:
            _shut(one)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                line, _ = self._door.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        if self.how == DOWN:
            line.close()
            return
        try:
            there = socket.create_connection(self._to)
        except OSError:  # the validator is away
            line.close()
            return
        with self._lock:
            self._held |= {line, there}
        back = threading.Thread(target=self._back, args=(there, line), daemon=True)
        back.start()
        try:
            while data := line.recv(CHUNK):
                there.sendall(data)
        except OSError:
            pass  # either end is gone
        _shut(there)
        back.join()
        with self._lock:
            self._held -= {line, there}
        line.close()
        there.close()

    def _back(self, there: socket.socket, line: socket.socket) -> None:
        try:
            while data := there.recv(CHUNK):
                self.answers.append(data)
                if not self._give(line, data):
                    break
        except OSError:
            pass
        _shut(line)

    def _give(self, line: socket.socket, data: bytes) -> bool:
        if self.how == MUTE:
            return True
        if self.how == DOWN:
            return False
        if self.how == FLAP and len(self.answers) % 2:
            line.sendall(data[: len(data) // 2])
            return False
        if self.how == DRIP:
            for at in range(len(data)):
                if self._ended.wait(DRIP_S):
                    return False
                line.sendall(data[at : at + 1])
            return True
        line.sendall(data)
        return True


def _shut(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
