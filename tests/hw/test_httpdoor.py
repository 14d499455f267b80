"""A door for HTTP stops at once and without a word, whoever is connected; A21 stands at each door.

tests/gateway/test_page_slow.py, test_joindoor.py and tests/validator/test_doors.py, test_http.py.
"""

import asyncio
import datetime as dt
import gc
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from support.authority import Authority
from support.site import until
from tallystick.evidence.errors import TransportError
from tallystick.hw import httpdoor
from tallystick.hw.httpdoor import Bounds, HttpDoor

BOUNDS = Bounds(
    connections_max=64,
    header_bytes_max=8192,
    keep_alive_s=60,
    backlog=16,
    start_s_max=60.0,
    stop_s_max=40,  # no busy machine takes a quarter of it to stop
    header_s_max=60.0,
    answer_s_max=60.0,
    handshake_s_max=60.0,
)
ASK = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"


class App:
    """Answers at once, or under /wait when it is let, or never."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.waits = threading.Event()
        self.size = 2

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/wait":
            self.waits.set()
            await asyncio.to_thread(self.let.wait, 60)
        length = str(self.size).encode()
        head = {"type": "http.response.start", "status": 200}
        await send(head | {"headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": b"x" * self.size})


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def door(app: App) -> Iterator[HttpDoor]:
    made = HttpDoor(BOUNDS, "door")
    made.listen("127.0.0.1", 0)
    made.serve(app)
    yield made
    made.stop()


def connect(door: HttpDoor) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(door.url.rpartition(":")[2])), 60)


def ended(client: socket.socket) -> bool:
    try:
        return client.recv(1000) == b""
    except ConnectionResetError:
        return True


def stopped_s(door: HttpDoor) -> float:
    began_s = time.monotonic()
    door.stop()
    assert not door.running
    return time.monotonic() - began_s


def test_who_is_connected_and_silent_keeps_no_door_open(
    door: HttpDoor, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with ExitStack() as held:
        silent = [held.enter_context(connect(door)) for _ in range(3)]
        silent[1].sendall(b"GET / HTTP/1.1\r\nHos")
        silent[2].sendall(ASK % b"")
        heard = b""
        while not heard.endswith(b"\r\n\r\nxx"):
            heard += silent[2].recv(1000)
        until(lambda: len(door.connections) == 3, "three connections")
        with caplog.at_level(logging.WARNING):
            # A quarter of what it would wait for answers that are under way.
            assert stopped_s(door) < BOUNDS.stop_s_max / 4
        # Cut off, or closed: either is an end.
        assert all(ended(one) for one in silent)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_who_was_accepted_while_it_stops_is_ended_too(
    door: HttpDoor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One whose protocol is made after the door told all others to leave."""
    late: list[Any] = []
    leave = httpdoor._leave

    def told(connection: Any) -> None:
        leave(connection)
        if not late:
            late.append(connection)
            # As asyncio does for a socket that it took before the door closed.
            made = type(connection)(
                config=connection.config, server_state=state, app_state={}, _loop=connection.loop
            )
            here, there = socket.socketpair()
            late.append(there)
            connection.loop.create_task(connection.loop.connect_accepted_socket(lambda: made, here))

    assert door._server is not None
    state = door._server.server_state
    monkeypatch.setattr(httpdoor, "_leave", told)
    with connect(door):
        until(lambda: len(door.connections) == 1, "a connection")
        assert stopped_s(door) < BOUNDS.stop_s_max / 2
    assert late[1].recv(1) == b""
    late[1].close()
    assert caplog.records == []


def test_an_answer_that_is_under_way_is_given(door: HttpDoor, app: App) -> None:
    with connect(door) as client:
        client.sendall(ASK % b"wait")
        assert app.waits.wait(60)
        threading.Timer(0.2, app.let.set).start()
        assert stopped_s(door) < BOUNDS.stop_s_max / 2
        heard = client.recv(1000)
        assert heard.startswith(b"HTTP/1.1 200")


def test_one_that_never_comes_is_waited_for_in_its_time(
    door: HttpDoor, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    assert door._server is not None
    door._server.config.timeout_graceful_shutdown = 0
    with connect(door) as client:
        client.sendall(ASK % b"wait")
        assert app.waits.wait(60)
        threading.Timer(0.3, app.let.set).start()
        assert stopped_s(door) < BOUNDS.stop_s_max / 2
    assert caplog.records == []


def test_a_client_of_tls_that_says_nothing_keeps_none_open(
    tmp_path: Path, app: App, capfd: pytest.CaptureFixture[str]
) -> None:
    authority = Authority(tmp_path)
    made = HttpDoor(BOUNDS, "door", *authority.server())
    assert made.listen("127.0.0.1", 0).startswith("https://127.0.0.1:")
    made.serve(app)
    context = ssl.create_default_context(cafile=authority.file)
    with connect(made) as plain, connect(made) as secured:
        client = context.wrap_socket(secured, server_hostname="localhost")
        until(lambda: len(made.connections) == 1, "a connection")
        assert stopped_s(made) < BOUNDS.stop_s_max / 2
        assert ended(plain)
        client.close()
    gc.collect()
    # Not a word of a task that was left behind either.
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "asks",
    [
        (ASK % b"",),
        (ASK % b"", b"GET"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",),
        (ASK % b"", b"no such thing\r\n\r\n"),
    ],
    ids=["kept alive", "headers that do not come", "closed after it", "nonsense after it"],
)
def test_an_answer_whose_end_is_not_read_is_not_waited_for_for_ever(
    app: App, asks: tuple[bytes, ...]
) -> None:
    """A writer that never paused, since all fitted its buffer, is held by nobody else."""
    app.size = 20_000_000
    few = replace(BOUNDS, header_s_max=5.0, answer_s_max=1.0, keep_alive_s=1)
    made = HttpDoor(few, "door")
    made.listen("127.0.0.1", 0)
    made.bounds = replace(few, buffer_bytes=50_000_000)
    made.serve(app)
    with connect(made) as client:
        for one in asks:
            client.sendall(one)
            until(lambda: any(c.transport.get_write_buffer_size() for c in made.connections))
        until(lambda: not made.connections, "its end")
    made.stop()


def test_what_cannot_be_served_is_said(tmp_path: Path, app: App) -> None:
    with pytest.raises(TransportError):
        HttpDoor(BOUNDS, "door").serve(app)
    (tmp_path / "none.pem").write_text("nothing")
    made = HttpDoor(BOUNDS, "door", tmp_path / "none.pem", tmp_path / "none.pem")
    made.listen("127.0.0.1", 0)
    with pytest.raises(OSError, match="PEM"):
        made.serve(app)
    with pytest.raises(OSError, match="in use"):
        HttpDoor(BOUNDS, "door").listen("127.0.0.1", int(made.url.rpartition(":")[2]))
    made.stop()
    if ipv6():
        assert HttpDoor(BOUNDS, "door").listen("::1", 0).startswith("http://[::1]:")


def ipv6() -> bool:
    """Some containers have none, not on loopback either."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_another_certificate_is_shown_to_who_comes_then(app: App, tmp_path: Path) -> None:
    door = HttpDoor(BOUNDS, "door", *Authority(tmp_path / "ec").server())
    host, port = door.listen("127.0.0.1", 0).removeprefix("https://").split(":")
    door.serve(app)

    def shown() -> bytes:
        return ssl.get_server_certificate((host, int(port)), timeout=60).encode()

    try:
        first = shown()
        # Of another kind of key, which would stand beside the first in one context.
        rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
        key = tmp_path / "rsa.key"
        key.write_bytes(rsa_key.private_bytes(*pem, serialization.NoEncryption()))
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "other")])
        now = dt.datetime.now(dt.timezone.utc)
        made = x509.CertificateBuilder(name, name, rsa_key.public_key(), 7, now, now)
        cert = tmp_path / "rsa.pem"
        signed = made.sign(rsa_key, hashes.SHA256())
        cert.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        door.renew(cert, key)
        assert shown() == cert.read_bytes()
        assert shown() != first
        with pytest.raises(ssl.SSLError):
            door.renew(cert, Authority(tmp_path / "other").server()[1])
        assert shown() == cert.read_bytes()
    finally:
        door.stop()


def test_large_headers_are_refused_also_when_they_come_at_once(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    door = HttpDoor(BOUNDS, "door")
    host, port = door.listen("127.0.0.1", 0).removeprefix("http://").split(":")
    door.serve(app)
    try:
        for size, status in ((8_000, b"200"), (9_000, b"400"), (60_000, b"400")):
            with socket.create_connection((host, int(port)), timeout=60) as client:
                header = b"X: " + b"x" * size + b"\r\n\r\n"
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + header)
                assert client.recv(64).split()[1] == status, size
        # A body after small headers is not one of them.
        with socket.create_connection((host, int(port)), timeout=60) as client:
            head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n"
            client.sendall(head + b"x" * 20_000)
            assert client.recv(64).split()[1] == b"200"
        with socket.create_connection((host, int(port)), timeout=60) as client:
            client.sendall(b"nonsense\r\n\r\n")
            assert client.recv(64).split()[1] == b"400"
    finally:
        door.stop()
    # No stranger writes into the log.
    assert caplog.records == []
