"""The door that devices knock at: sizes, rates, slow clients, and what it never says."""

import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import httpx2
import pytest

from support.authority import Authority
from support.devices import Fleet
from support.joinsite import Queue, ask, code_of, door, invite, let_in, order, robot
from support.site import Site, until
from tallystick.evidence import cbor
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import b64u, from_b64u
from tallystick.gateway import limits
from tallystick.gateway.joindoor import JoinDoor, Senders, read, sender_of

ACME = Fleet("acme")
CBOR = {"Content-Type": "application/cbor"}
COSE = {"Content-Type": "application/cose"}


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    made = Queue(tmp_path, ACME)
    yield made
    made.close()


@pytest.fixture
def opened(queue: Queue, tmp_path: Path) -> Iterator[JoinDoor]:
    with door(queue, tmp_path) as made:
        yield made


def counts(opened: JoinDoor) -> dict[str, int]:
    return {reason: count for reason, count, _ in opened.take_counts()}


def test_the_whole_way_over_http(opened: JoinDoor) -> None:
    code, device = code_of(ACME), robot("a")
    asked = ask(ACME, code, device)
    with httpx2.Client(base_url=f"{opened.url}/join/1", timeout=60) as client:
        taken = client.post("/statements", content=cbor.encode([invite(ACME, code)]), headers=CBOR)
        assert taken.json() == {"taken": [None]}
        root = client.get(f"/root/{b64u(code.name())}")
        assert (root.status_code, root.text) == (200, ACME.root_line)
        queued = client.post("/requests", content=asked.encode(), headers=CBOR)
        assert (queued.status_code, queued.content) == (202, b"")
        assert queued.headers["Retry-After"] == str(limits.JOIN_RETRY_S)
        given = client.get("/challenge").json()
        ordered = order(ACME, from_b64u(given["challenge"], 32))
        page = client.post("/queue", content=ordered, headers=COSE).json()
        assert [row["request"] for row in page["queued"]] == [b64u(asked.encode())]
        replayed = client.post("/queue", content=ordered, headers=COSE)
        assert replayed.status_code == 401 and "queued" not in replayed.json()
        answer = let_in(ACME, asked, device)
        client.post("/statements", content=cbor.encode([answer]), headers=CBOR)
        got = client.post("/requests", content=asked.encode(), headers=CBOR)
        assert (got.status_code, got.content) == (200, answer)
        assert got.headers["Content-Type"] == "application/cose"


def test_what_is_refused_says_why_and_is_counted(opened: JoinDoor) -> None:
    code = code_of(ACME)
    asked = ask(ACME, code, robot("a")).encode()
    with httpx2.Client(base_url=f"{opened.url}/join/1", timeout=60) as client:
        wrong = client.post("/requests", content=asked, headers=CBOR)
        assert wrong.status_code == 401
        assert wrong.json()["reason"] == "not-authorised"
        assert wrong.headers["Content-Type"] == "application/problem+json"
        large = client.post("/requests", content=bytes(16_385), headers=CBOR)
        assert (large.status_code, large.json()["reason"]) == (413, "too-large")
        chunked = client.post("/requests", content=iter([bytes(9_000)] * 2), headers=CBOR)
        assert chunked.status_code == 413
        assert client.post("/requests", content=asked, headers=COSE).status_code == 400
        assert client.post("/requests", content=asked[:-1], headers=CBOR).status_code == 400
        assert client.get("/root/short").status_code == 400
        assert client.get("/root/").status_code == 404
        assert client.get("/requests").status_code == 405
        try:
            long = client.get("/challenge", headers={"X": "x" * 1_000_000})
            assert long.status_code == 400
        except httpx2.TransportError:  # the connection was ended before all of it was sent
            pass
    found = counts(opened)
    assert found["not-authorised"] == 1 and found["too-large"] == 2 and found["bad-header"] == 1
    assert counts(opened) == {}


def test_a_body_without_end_is_not_read_to_its_end() -> None:
    class Endless:
        headers = {"content-type": "application/cbor"}  # noqa: RUF012 - as Starlette's
        parts = 0

        async def stream(self) -> AsyncIterator[bytes]:
            while self.parts < 100:
                self.parts += 1
                yield bytes(1000)

    sender = Endless()
    with pytest.raises(Malformed, match="over 2500 bytes"):
        anyio.run(read, sender, "application/cbor", 2500)  # type: ignore[arg-type]
    assert sender.parts == 3


def test_who_guesses_codes_is_slowed_and_others_are_not() -> None:
    senders = Senders()
    for _ in range(int(limits.JOIN_BAD_PER_SENDER_BURST)):
        senders.check("10.0.0.1", 0.0)
        senders.refused("10.0.0.1", 0.0)
    with pytest.raises(Exception, match="too many"):
        senders.check("10.0.0.1", 0.0)
    senders.check("10.0.0.2", 0.0)
    senders.check("10.0.0.1", 1 / limits.JOIN_BAD_PER_SENDER_PER_S)
    # And who only floods takes no more than its share of all.
    flooded = 0
    for _ in range(1000):
        try:
            senders.check("10.0.0.3", 100.0)
        except Exception:  # noqa: BLE001 - counted
            flooded += 1
    assert flooded == 1000 - limits.JOIN_PER_SENDER_BURST
    senders.check("10.0.0.2", 100.0)


def test_a_flood_at_the_door_is_answered_cheaply(opened: JoinDoor) -> None:
    asked = ask(ACME, code_of(ACME), robot("a")).encode()
    with httpx2.Client(base_url=f"{opened.url}/join/1", timeout=60) as client:
        statuses = [
            client.post("/requests", content=asked, headers=CBOR).status_code for _ in range(40)
        ]
        assert statuses.count(401) <= limits.JOIN_BAD_PER_SENDER_BURST + 1
        assert statuses[-1] == 429
        # It holds for every door from there.
        assert client.get("/challenge").headers["Retry-After"] == str(limits.JOIN_RETRY_S)


def test_an_ipv6_network_is_one_sender() -> None:
    def of(host: str) -> str:
        class Asked:
            class client:  # noqa: N801 - Starlette's name
                pass

        Asked.client.host = host  # type: ignore[attr-defined]
        return sender_of(Asked)  # type: ignore[arg-type]

    assert of("2001:db8::1") == of("2001:db8::ffff:2") != of("2001:db8:0:1::1")
    assert of("10.0.0.1") == "10.0.0.1" and of("testclient") == "testclient"


def test_slow_clients_are_cut_off(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "JOIN_CONNECTION_S_MAX", 0.3)
    with door(queue, tmp_path) as opened:
        port = int(opened.url.rpartition(":")[2])
        head = b"POST /join/1/requests HTTP/1.1\r\nHost: x\r\nContent-Type: application/cbor\r\n"
        for sent in (b"", b"GET /join", head + b"Content-Length: 100\r\n\r\nabc"):
            with socket.create_connection(("127.0.0.1", port), 60) as slow:
                slow.sendall(sent)
                begun_s = time.monotonic()
                try:
                    while slow.recv(1000):
                        pass
                except ConnectionResetError:
                    pass
                assert time.monotonic() - begun_s < 30


def test_who_does_not_shake_hands_is_cut_off(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "JOIN_HANDSHAKE_S_MAX", 0.3)
    cert, key = Authority(tmp_path / "tls").server()
    with door(queue, tmp_path, cert=cert, key=key) as opened:
        port = int(opened.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 60) as silent:
            begun_s = time.monotonic()
            assert silent.recv(1000) == b""
            assert time.monotonic() - begun_s < 30


def test_many_connections_keep_nobody_out_for_long(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "JOIN_CONNECTION_S_MAX", 0.5)
    with door(queue, tmp_path) as opened:
        port = int(opened.url.rpartition(":")[2])
        held = [
            socket.create_connection(("127.0.0.1", port), 60)
            for _ in range(limits.JOIN_CONNECTIONS_MAX + 10)
        ]
        try:

            def free() -> bool:
                with contextlib.suppress(httpx2.HTTPError):  # a busy machine is late, too
                    url = f"{opened.url}/join/1/challenge"
                    return httpx2.get(url, timeout=60).status_code == 200
                return False

            until(free, "the door to be free again")
        finally:
            for one in held:
                one.close()


def test_a_defect_is_answered_and_tells_nothing(
    opened: JoinDoor,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(_data: bytes, _now_s: int) -> bytes:
        message = "a defect"
        raise ValueError(message)

    monkeypatch.setattr(queue.joins, "ask", broken)
    asked = ask(ACME, code_of(ACME), robot("a")).encode()
    got = httpx2.post(f"{opened.url}/join/1/requests", content=asked, headers=CBOR, timeout=60)
    assert (got.status_code, got.json()["reason"]) == (503, "internal-error")
    assert "defect" not in got.text
    assert b64u(asked) not in capsys.readouterr().out


def test_a_hundred_ask_at_once(opened: JoinDoor, queue: Queue) -> None:
    code = code_of(ACME)
    queue.joins.take(invite(ACME, code, 100))
    asked = [ask(ACME, code, robot(f"robot {n}")).encode() for n in range(100)]
    statuses: list[int] = []

    def send(mine: list[bytes]) -> None:
        with httpx2.Client(base_url=f"{opened.url}/join/1", timeout=60) as client:
            statuses.extend(
                client.post("/requests", content=one, headers=CBOR).status_code for one in mine
            )

    threads = [threading.Thread(target=send, args=(asked[n::5],)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [202] * 100
    assert len(queue.waiting()) == 100


def test_what_its_table_refuses(tmp_path: Path) -> None:
    """What `tally gateway check` says of its files stands in test_check.py."""
    made = Authority(tmp_path / "tls")
    cert, key = made.server()
    site = Site(tmp_path / "gw", ACME, 1, limits=f'[join]\ncert = "{cert}"\nkey = "{key}"')
    assert site.config.join is not None
    for wrong in ('bind = "localhost"', 'bind = "a:1"', "inbox = 5", "door = 1"):
        text = site.path.read_text()
        site.path.write_text(
            text.replace("[join]", f"[join]\n{wrong}").replace(f'cert = "{cert}"\n', "")
        )
        with pytest.raises(Malformed):
            site.config  # noqa: B018 - it is read
        site.path.write_text(text)


def test_nobody_new_is_queued_while_the_store_is_full(opened: JoinDoor, queue: Queue) -> None:
    code, known, late = code_of(ACME), robot("a"), robot("b")
    queue.joins.take(invite(ACME, code, uses=2))
    with httpx2.Client(base_url=f"{opened.url}/join/1", timeout=60) as client:
        first, second = (ask(ACME, code, one).encode() for one in (known, late))
        assert client.post("/requests", content=first, headers=CBOR).status_code == 202
        queue.joins.full = lambda: True
        # Who is queued already is answered as before.
        assert client.post("/requests", content=first, headers=CBOR).status_code == 202
        refused = client.post("/requests", content=second, headers=CBOR)
        assert (refused.status_code, refused.json()["reason"]) == (503, "store-full")
        assert "Retry-After" in refused.headers
        queue.joins.full = lambda: False
        assert client.post("/requests", content=second, headers=CBOR).status_code == 202
    assert len(queue.waiting()) == 2
