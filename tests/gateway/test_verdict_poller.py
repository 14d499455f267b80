"""The gateway learns of a verdict when there is one: the validator waits, and nobody looks."""

import http.server
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from support.devices import Fleet
from support.gateways import MemoryGateway
from support.notary import Notary
from support.site import until
from support.validating import HANDOVER
from tallystick.gateway import limits
from tallystick.gateway.forward import Forwarder
from tallystick.gateway.peers import Peer
from tallystick.gateway.validatorconfig import ValidatorConfig
from tallystick.gateway.verdicts import VerdictPoller
from tallystick.validator import app

ACME = Fleet("acme")
# Longer than any test takes: whoever looks so often finds nothing in time.
POLL_S = 60.0


class Site:
    """A gateway of two robots, and what forwards and asks, in threads where they are started."""

    def __init__(self, folder: Path) -> None:
        self.gate = MemoryGateway(folder, ACME)
        self.stop = threading.Event()
        self.robots = [ACME.device("giver"), ACME.device("taker")]
        self.gate.know(*self.robots)
        self.pollers: list[VerdictPoller] = []
        self.threads: list[threading.Thread] = []
        self.forwarder: Forwarder | None = None

    def forward(self, peer: Peer) -> None:
        credential = tuple(self.gate.credential)
        self.forwarder = Forwarder(
            peer, self.gate.store, self.gate.signing, credential, self.gate.down_queue, self.stop
        )
        self._start(self.forwarder.run)

    def ask(self, peer: Peer, poll_s: float = POLL_S) -> VerdictPoller:
        made = VerdictPoller(
            peer, self.gate.store, self.gate.down_queue, self.stop, threading.Event(), poll_s
        )
        self.pollers.append(made)
        self._start(made.run)
        return made

    def _start(self, run: object) -> None:
        thread = threading.Thread(target=run, daemon=True)  # type: ignore[arg-type]
        thread.start()
        self.threads.append(thread)

    def hand_over(self, task: str) -> None:
        parties = {"giver": [self.robots[0].id], "receiver": [self.robots[1].id]}
        sides = (("giver", "released"), ("receiver", "acquired"))
        for robot, (role, name) in zip(self.robots, sides, strict=True):
            robot.claim(task, role, name, parties, HANDOVER.digest, item="p", position_m=[1, 2])
            robot.seal()
            self.gate.give(robot, robot.segment(-1))
        assert self.forwarder is not None
        self.forwarder.wake()

    def has(self, wanted: int) -> bool:
        reader = self.gate.store.reader()
        try:
            (count,) = reader.execute("SELECT COUNT(*) FROM verdicts").fetchone()
        finally:
            reader.close()
        return bool(count == wanted)

    def close(self) -> None:
        self.stop.set()
        for poller in self.pollers:
            poller.wake()
        if self.forwarder is not None:
            self.forwarder.wake()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()
        self.gate.store.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


@pytest.fixture
def notary(tmp_path: Path) -> Iterator[Notary]:
    made = Notary(tmp_path / "notary", ACME).start()
    yield made
    made.stop()


def test_verdicts_come_while_the_question_waits(site: Site, notary: Notary) -> None:
    site.ask(notary.peer())
    site.forward(notary.peer())
    for count in (1, 2, 3):
        site.hand_over(f"order-{count}")
        until(partial(site.has, count), f"verdict {count}")


def test_a_question_that_waits_holds_nobody_up_that_stops(
    site: Site, notary: Notary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "VERDICTS_WAIT_S_MAX", 60)
    monkeypatch.setattr(app, "VERDICTS_WAIT_S_MAX", 60)
    poller = site.ask(notary.peer())
    service = notary.service
    assert service is not None
    feed = service.sequencer.log.on_verdicts.__self__  # type: ignore[attr-defined]
    until(lambda: feed._waiting, "the question")
    site.stop.set()
    began_s = time.monotonic()
    poller.wake()
    site.threads[0].join(50)
    # It would be answered after VERDICTS_WAIT_S_MAX.
    assert not site.threads[0].is_alive()
    assert time.monotonic() - began_s < 50


class _Older(http.server.BaseHTTPRequestHandler):
    """A validator of a version that does not know `wait`."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        wrong = "wait=" in self.path
        body = b'{"reason": "bad-value"}' if wrong else b'{"verdicts": [], "next": 0}'
        self.send_response(400 if wrong else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_an_older_validator_is_asked_as_it_knows(site: Site, notary: Notary) -> None:
    asked: list[str] = []
    handler = type("Older", (_Older,), {"asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as older:
        threading.Thread(target=older.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{older.server_address[1]}"
        config = ValidatorConfig(name="notary", url=url, key=("notary", notary.key), send="full")
        site.ask(Peer(config, "notary", notary.key), poll_s=1.0)
        until(lambda: len(asked) >= 3, "questions")
        older.shutdown()
    assert ["wait=1" in path for path in asked[:3]] == [True, False, False]
