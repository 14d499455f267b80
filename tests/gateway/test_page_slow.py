"""The page's door: what the slow, the large and the many get (A21)."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from structlog.testing import capture_logs

from support.devices import Fleet
from support.knocking import connect, ended
from support.site import Radio, Site, until
from support.watching import tagged
from tallystick.gateway import pagelimits
from tallystick.gateway.pageserver import Page
from tallystick.gateway.service import Gateway
from tallystick.tools.mosquitto import Mosquitto

ACME = Fleet("acme")


@pytest.fixture
def plain(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[Gateway, Page]]]:
    with contextlib.ExitStack() as stack:

        def start(**limits: float) -> tuple[Gateway, Page]:
            for name, value in limits.items():
                monkeypatch.setattr(pagelimits, name, value)
            site = Site(
                tmp_path, ACME, mosquitto.port, "plain", limits='[page]\nbind = "127.0.0.1:0"\n'
            )
            site.with_prefix("plain")
            gateway = stack.enter_context(site.running())
            assert gateway.page is not None
            page = gateway.page
            until(lambda: page.watch.newest, "a look")
            return gateway, page

        yield start


def test_slow_and_huge_headers_are_dropped(plain: Callable[..., tuple[Gateway, Page]]) -> None:
    _, page = plain(HEADER_READ_S_MAX=1.5)
    with connect(page.url) as silent, connect(page.url) as trickling:
        trickling.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        begin_s = time.monotonic()

        def trickle() -> None:
            with contextlib.suppress(OSError):
                while time.monotonic() - begin_s < 50:
                    trickling.sendall(b"X: y\r\n")
                    time.sleep(0.05)

        threading.Thread(target=trickle, daemon=True).start()
        assert ended(silent) == b""
        assert b"200 OK" not in ended(trickling)
        assert time.monotonic() - begin_s < 45
    with connect(page.url) as huge:
        with contextlib.suppress(OSError):
            huge.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 1_000_000)
        assert b"200 OK" not in ended(huge)
    assert httpx2.get(page.url + "/v1/status", timeout=60).status_code == 200


def test_a_body_without_end_keeps_no_place(plain: Callable[..., tuple[Gateway, Page]]) -> None:
    _, page = plain()
    for head, part in (
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n", b"x"),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n",
        ),
    ):
        with connect(page.url) as endless:
            endless.sendall(head)
            ending = threading.Event()

            def trickle(endless: socket.socket = endless, part: bytes = part) -> None:
                with contextlib.suppress(OSError):
                    while not ending.wait(0.05):  # noqa: B023
                        endless.sendall(part)

            threading.Thread(target=trickle, daemon=True).start()
            assert ended(endless).startswith(b"HTTP/1.1 ")
            ending.set()


def test_many_connections_leave_the_others_theirs(
    plain: Callable[..., tuple[Gateway, Page]],
) -> None:
    gateway, page = plain(CONNECTIONS_MAX=12, STREAMS_MAX=4, KEEP_ALIVE_S=1, LOOK_S=0.05)
    with contextlib.ExitStack() as stack:
        streams = []
        for _ in range(4):
            stream = stack.enter_context(connect(page.url))
            stream.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert stream.recv(1024).startswith(b"HTTP/1.1 200")
            streams.append(stream)
        with httpx2.stream("GET", page.url + "/v1/events", timeout=60) as refused:
            assert refused.status_code == 503
        assert httpx2.get(page.url + "/v1/status", timeout=60).status_code == 200
        idle = [stack.enter_context(connect(page.url)) for _ in range(20)]
        statuses = []
        for one in idle:
            with contextlib.suppress(OSError):
                one.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                statuses.append(one.recv(64)[9:12])
        assert b"503" in statuses
        assert gateway.running and not gateway.worker.store_error
    until(lambda: page.door.streams == 0, "the end of the streams")
    until(lambda: httpx2.get(page.url + "/healthz", timeout=60).status_code == 200, "room again")


def test_however_many_look_the_store_is_read_as_often(
    plain: Callable[..., tuple[Gateway, Page]],
) -> None:
    _, page = plain(LOOK_S=0.2)
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            stream = stack.enter_context(connect(page.url))
            stream.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: page.door.streams == 30, "the streams")
        first, begin_s = page.watch.newest, time.monotonic()
        assert first is not None
        until(lambda: page.watch.newest.number >= first.number + 4, "looks")  # type: ignore[union-attr]
        last = page.watch.newest
        assert last is not None
        assert last.number - first.number <= (time.monotonic() - begin_s) / 0.2 + 1


def test_who_does_not_read_the_stream_is_dropped_and_ingest_goes_on(
    plain: Callable[..., tuple[Gateway, Page]], mosquitto: Mosquitto, tmp_path: Path
) -> None:
    gateway, page = plain(LOOK_S=0.002, WRITE_S_MAX=0.3, STREAM_BUFFER_BYTES=4_096)
    device = tagged(ACME, "busy", "agv-1")
    gateway.worker.add_credential(device.credential)
    with connect(page.url, receive_bytes=4_096) as deaf:
        deaf.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: page.door.streams == 1, "the stream")
        device.record(20)
        with Radio(mosquitto.port, device, "plain") as radio:
            radio.up(*device.segments())
        # Both in the end: its records are in custody, and who never reads is gone.
        until(lambda: page.watch.newest and page.watch.newest.snapshot.totals.records == 21, "them")
        until(lambda: page.door.streams == 0, "the drop")


def test_a_page_that_ends_takes_no_gateway_with_it(
    plain: Callable[..., tuple[Gateway, Page]], mosquitto: Mosquitto
) -> None:
    gateway, page = plain()
    assert page.server._server is not None
    page.server._server.should_exit = True
    page.watch.stop()
    for thread in page.threads:
        thread.join(60)
    with capture_logs() as said:
        page.look_after()
        page.look_after()
    assert len(said) == 1 and said[0]["log_level"] == "error"
    device = tagged(ACME, "on", "agv-2")
    gateway.worker.add_credential(device.credential)
    device.record(2)
    with Radio(mosquitto.port, device, "plain") as radio:
        radio.up(*device.segments())
        until(radio.statements, "a receipt")
    assert gateway.running
