"""The circuit breaker: down, hanging, flapping, 503 with Retry-After; what each costs."""

import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway.test_bad_lines import Ill
from gateway.test_forward import ACME, Sending, robot_of
from support import badline
from support.gateways import MemoryGateway
from support.notary import Notary
from support.site import until
from tallystick.gateway import circuit, limits
from tallystick.gateway.backoff import Backoff
from tallystick.gateway.built import Built
from tallystick.gateway.circuit import CLOSED, HALF_OPEN, OPEN, Circuit
from tallystick.gateway.forward import Forwarder
from tallystick.gateway.http import Http, Refusal, TimedOut, retry_after_s
from tallystick.gateway.peers import Peer


def test_it_opens_after_failures_in_a_row_and_closes_with_an_answer() -> None:
    made = Circuit(0, Backoff(60.0))
    for n in range(1, circuit.FAILURES_MAX):
        assert made.failed(n) <= 1.0
        assert made.state == CLOSED
        made.trying(n)
        assert made.state == CLOSED
    made.failed(5)
    assert (made.state, made.since_ms, made.opened) == (OPEN, 5, 1)
    made.trying(6)
    assert (made.state, made.since_ms) == (HALF_OPEN, 6)
    made.failed(7)
    assert (made.state, made.since_ms, made.opened) == (OPEN, 7, 2)
    made.trying(8)
    made.worked(9)
    assert made.told() == {"state": CLOSED, "since_ms": 9, "opened": 2}
    # An answer in between begins the count anew.
    for n in range(10):
        made.failed(n)
        made.worked(n)
    assert made.state == CLOSED


def test_waits_are_bounded_at_both_ends_and_never_end() -> None:
    made = Circuit(0, Backoff(8.0))
    made.failed(0, at_once=True)
    assert made.state == OPEN
    waits = [made.failed(n) for n in range(1_000)]
    assert max(waits) <= 8.0
    # Jitter keeps gateways apart, and does not make an open circuit hammer.
    assert min(waits[10:]) >= 4.0
    assert len(set(waits)) > 900
    # What the validator asks for is obeyed up to a bound.
    assert made.failed(0, after_s=100.0) == 100.0
    assert made.failed(0, after_s=1e9) == limits.RETRY_AFTER_S_MAX


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0.0),
        ("7", 7.0),
        ("99999999999999999999999999", 999_999_999.0),
        ("-7", 0.0),
        ("1e9", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        ("²", 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40.0),
        ("Thu, 01 Jan 1970 00:00:40 GMT", 0.0),
        ("Thu, 01 Jan 99999 00:00:40 GMT", 0.0),
    ],
)
def test_what_a_retry_after_says(value: str | None, seconds: float) -> None:
    assert retry_after_s(value, 60.0) == seconds


def forwarder(gate: MemoryGateway, peer: Peer, http: Http) -> Forwarder:
    return Forwarder(
        peer,
        gate.store,
        gate.signing,
        tuple(gate.credential),
        gate.down_queue,
        threading.Event(),
        retry_s_max=0.4,
        http=http,
    )


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[MemoryGateway]:
    made = MemoryGateway(tmp_path / "gate", ACME)
    robot = ACME.device()
    made.know(robot)
    for _ in range(40):
        robot.record(2)
    made.give(robot, *robot.segments())
    yield made
    made.store.close()


def test_a_hanging_validator_costs_one_small_request_a_period(
    tmp_path: Path, gate: MemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    ill = Ill(tmp_path / "notary", ACME).start()
    http = Http(ill.url)
    made = forwarder(gate, ill.peer(), http)
    sizes: list[int] = []
    real = made._builder.build

    def build(connection: sqlite3.Connection, cursor: int, most: int) -> Built | None:
        sizes.append(most)
        return real(connection, cursor, most)

    monkeypatch.setattr(made._builder, "build", build)
    made._compare()
    ill.line.how = badline.MUTE
    # Only while nothing answers: what does may take its time.
    http._client.timeout = 0.15
    waits = [made.turn() for _ in range(5)]
    http._client.timeout = limits.HTTP_READ_S_MAX
    assert made.circuit.state == OPEN
    # The first full batch shows it; from then on one segment a period, and a period is a wait.
    assert sizes == [limits.BATCH_SEGMENTS, 1, 1, 1, 1]
    assert min(waits[2:]) >= 0.2
    ill.line.heal()
    while made.cursor < 40:
        assert made.turn() == 0.0
        assert made.circuit.state == CLOSED
    # More with each answer, as far as it keeps answering.
    assert sizes[5:] == [1, 2, 4, 8, 16, 32]
    made.close()
    ill.stop()


def test_one_that_is_down_is_opened_after_three_and_found_again(
    tmp_path: Path, gate: MemoryGateway
) -> None:
    notary = Notary(tmp_path / "notary", ACME).start()
    made = forwarder(gate, notary.peer(), Http(notary.url))
    made._compare()
    notary.stop()
    states = []
    for _ in range(5):
        made.turn()
        states.append(made.circuit.state)
    assert states == [CLOSED, CLOSED, OPEN, OPEN, OPEN]
    notary.start()
    assert made.turn() == 0.0
    assert (made.circuit.state, made.cursor) == (CLOSED, 1)
    made.close()
    notary.stop()


def test_a_flapping_one_gets_everything_and_the_other_waits_for_nothing(tmp_path: Path) -> None:
    sending = Sending(tmp_path / "gateway")
    ill = Ill(tmp_path / "lab", ACME, name="lab").start()
    well = Notary(tmp_path / "notary", ACME).start()
    robot = robot_of(sending, 30)
    ill.line.how = badline.FLAP
    flapping = sending.add(ill)
    sending.add(well)
    sending.give(robot, *robot.segments())
    sending.sent(30)
    until(lambda: flapping.circuit.opened or flapping.cursor == 30, "the first failures")
    ill.line.heal()
    sending.sent(30, "lab")
    assert flapping.circuit.state == CLOSED
    sending.close()
    ill.stop()
    well.stop()


class Busy(BaseHTTPRequestHandler):
    """Whatever stands before a validator and says: later."""

    status = 503

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Retry-After", "3")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


def test_a_503_with_retry_after_is_obeyed_at_once(tmp_path: Path, gate: MemoryGateway) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Busy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    notary = Notary(tmp_path / "notary", ACME)
    made = forwarder(gate, notary.peer(), Http(f"http://127.0.0.1:{server.server_port}"))
    wait_s = made.turn()
    assert (wait_s, made.circuit.state) == (3.0, OPEN)
    assert made.backing_off, "news do not shorten it"
    made.close()
    server.shutdown()
    server.server_close()


def test_an_idle_gateway_finds_out_that_a_validator_is_back(tmp_path: Path) -> None:
    made = MemoryGateway(tmp_path / "gate", ACME)
    notary = Notary(tmp_path / "notary", ACME)
    one = forwarder(made, notary.peer(), Http(notary.url))
    for _ in range(circuit.FAILURES_MAX):
        one.turn()
    assert one.circuit.state == OPEN
    assert made.status()["validators"][0]["error"]  # type: ignore[index]
    notary.start()
    one.turn()
    assert one.circuit.state == CLOSED
    # What was wrong is not shown any more, though nothing was sent.
    assert made.status()["validators"][0]["error"] is None  # type: ignore[index]
    one.close()
    notary.stop()
    made.store.close()


def test_our_own_trouble_says_nothing_of_a_validator(
    tmp_path: Path, gate: MemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    notary = Notary(tmp_path / "notary", ACME).start()
    made = forwarder(gate, notary.peer(), Http(notary.url))
    made._compare()

    def fail(*_: object) -> None:
        raise OSError("the disk")

    monkeypatch.setattr(made._builder, "build", fail)
    for _ in range(5):
        assert made.turn() > 0
    assert made.circuit.state == CLOSED
    made.close()
    notary.stop()


def test_a_refusal_and_a_time_out_are_told_apart(tmp_path: Path) -> None:
    ill = Ill(tmp_path / "notary", ACME).start()
    http = Http(ill.url)
    with pytest.raises(Refusal):
        http.get("/v1/nothing")
    http._client.timeout = 0.1
    ill.line.how = badline.MUTE
    with pytest.raises(TimedOut):
        http.get("/healthz")
    http.close()
    ill.stop()
