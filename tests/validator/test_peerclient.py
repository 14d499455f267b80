"""A peer that answers slowly, or for ever, costs a bounded time (A21)."""

import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tallystick.evidence.errors import TransportError
from tallystick.validator.peerclient import PeerClient

ANSWER_S = 0.5  # what the tests' client waits for a whole answer
PATIENT_S = 2.0  # where a busy machine must not make a good one late
DRIP_S = 0.02
DRIPS = 400  # longer than a test waits: 8 s
GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n"
# What is given at once, then again and again; each is a good answer once it ends.
SLOW = {
    "headers": (b"HTTP/1.1 200 OK\r\nx: ", b"y"),
    "informational": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunks": (CHUNKED + b"\r\n", b"1\r\nx\r\n"),
    "nothing unpacked": (
        CHUNKED + b"content-encoding: gzip\r\n\r\na\r\n" + gzip.compress(b"")[:10] + b"\r\n",
        b"5\r\n\x00\x00\x00\xff\xff\r\n",
    ),
    "to the end of the connection": (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
}


class Slow:
    """A peer; `says` is what it gives at once, and what it drips."""

    def __init__(self) -> None:
        self.says = (GOOD, b"")
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        self._ending = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                line, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        try:
            with line:
                while line.recv(65_536):
                    at_once, drip = self.says
                    line.sendall(at_once)
                    for _ in range(DRIPS if drip else 0):
                        if self._ending.wait(DRIP_S):
                            return
                        line.sendall(drip)
        except OSError:
            return

    def close(self) -> None:
        self._ending.set()
        self._door.close()


@pytest.fixture
def peer() -> Iterator[Slow]:
    made = Slow()
    yield made
    made.close()


@pytest.mark.parametrize("how", SLOW)
def test_a_peer_that_drips_is_given_up(peer: Slow, how: str) -> None:
    client = PeerClient(peer.url, ANSWER_S)
    peer.says = SLOW[how]
    began_s = time.monotonic()
    with pytest.raises(TransportError) as error:
        client.bytes_of("/v1/witnessed")
    assert error.value.reason == "unreachable"
    assert time.monotonic() - began_s < DRIPS * DRIP_S / 2
    # And asked again; a busy machine may make a good answer late, but not each time.
    peer.says = GOOD, b""
    heard = b""
    for _ in range(20):
        with contextlib.suppress(TransportError):
            heard = client.bytes_of("/v1/witnessed")
            break
    assert heard == b"ok"
    client.close()


def test_the_time_is_of_one_answer_and_not_of_a_connection(peer: Slow) -> None:
    client = PeerClient(peer.url, PATIENT_S)
    end_s = time.monotonic() + 1.5 * PATIENT_S
    while time.monotonic() < end_s:
        assert client.bytes_of("/checkpoint") == b"ok"
        time.sleep(0.05)
    client.close()
