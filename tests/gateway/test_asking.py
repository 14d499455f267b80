"""F10: a damaged segment that its device does not have any more comes back from a validator."""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support.devices import Device, Fleet
from support.gateways import MemoryGateway
from support.notary import Notary
from support.site import Site, until
from tallystick.evidence import cbor
from tallystick.evidence.errors import KeyDriverError
from tallystick.evidence.segmentrequest import SegmentRequest
from tallystick.gateway import asking, importing, limits, lostsegments
from tallystick.gateway.asking import Asker, Lost, repaired
from tallystick.gateway.damage import Scrubber
from tallystick.gateway.forward import Forwarder
from tallystick.gateway.http import COSE, Http, Refusal, TimedOut
from tallystick.gateway.lostsegments import LostSegments
from tallystick.gateway.peers import Peer
from tallystick.gateway.service import Gateway
from tallystick.gateway.store import Store
from tallystick.validator.problem import Problem
from tallystick.validator.segmentpace import SegmentPace

ACME = Fleet("acme")
COUNT = 6


class House:
    """A memory gateway whose six segments a real validator has; its intake runs in a thread."""

    def __init__(self, folder: Path, notary: Notary, *fleets: Fleet) -> None:
        self.gate = MemoryGateway(folder, ACME, *fleets)
        self.robot: Device = (fleets or (ACME,))[0].device()
        for _ in range(COUNT):
            self.robot.record(3)
        self.gate.know(self.robot)
        self.gate.give(self.robot, *self.robot.segments())
        self.notary = notary
        self.stop = threading.Event()
        self.peers: list[Peer] = [notary.peer()]
        self.asker = Asker(
            self.gate.store,
            self.gate.signing,
            self.gate.inbox,
            "tallystick/1",
            lambda: self.peers,
            self.stop,
        )
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.stop.is_set():
            self.gate.worker.turn(0.05)

    def forward(self, peer: Peer) -> None:
        gate = self.gate
        made = Forwarder(
            peer, gate.store, gate.signing, tuple(gate.credential), gate.down_queue, self.stop
        )
        while made.turn() == 0:
            pass
        assert made.cursor == COUNT
        made.close()

    def damage(self, at: int) -> Lost:
        with self.gate.store.write() as connection:
            connection.execute("UPDATE segments SET data = zeroblob(300) WHERE at = ?", (at,))
            connection.execute("REPLACE INTO damaged (at, found_ms) VALUES (?, 1)", (at,))
            row = connection.execute(
                "SELECT s.at, t.device, t.epoch, s.first, s.until, s.checkpoint FROM segments s "
                "JOIN tracks t USING (track) WHERE s.at = ?",
                (at,),
            ).fetchone()
        return Lost(*row)

    def data(self, at: int) -> bytes:
        reader = self.gate.store.reader()
        (data,) = reader.execute("SELECT data FROM segments WHERE at = ?", (at,)).fetchone()
        reader.close()
        return bytes(data)

    def close(self) -> None:
        self.stop.set()
        self.thread.join(60)
        self.gate.store.close()


@pytest.fixture
def notary(tmp_path: Path) -> Iterator[Notary]:
    made = Notary(tmp_path / "notary", ACME).start()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def _patience() -> Iterator[None]:
    """A COMMIT of the intake's thread may take its time on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "REPAIR_WAIT_S", 60.0)
        yield


@pytest.fixture
def house(tmp_path: Path, notary: Notary, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(limits, "REPAIR_WAIT_S", 60.0)
    made = House(tmp_path / "gateway", notary)
    yield made
    made.close()


def test_a_validator_gives_it_back(house: House) -> None:
    house.forward(house.notary.peer())
    before = house.data(3)
    lost = house.damage(3)
    assert house.asker.ask(lost)
    assert house.data(3) == before
    reader = house.gate.store.reader()
    assert repaired(reader) == 1
    reader.close()
    # Nothing new was taken for it.
    assert house.gate.status()["segments"] == COUNT


def test_a_validator_whose_log_time_is_ahead_gives_it_back(house: House) -> None:
    house.forward(house.notary.peer())
    before = house.data(3)
    service = house.notary.service
    assert service is not None
    # Its clock had leapt; log times never fall.
    service.sequencer.log.time_ms += 5 * 3_600_000
    assert house.asker.ask(house.damage(3))
    assert house.data(3) == before


def test_who_has_no_bodies_is_not_asked(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def post(http: Http, *_: object) -> bytes:
        asked.append(http.url)
        return cbor.encode([])

    monkeypatch.setattr(Http, "post", post)
    lost = house.damage(3)
    assert not house.asker.ask(lost)  # it has receipted nothing
    monkeypatch.undo()
    house.forward(house.notary.peer("claims"))
    monkeypatch.setattr(Http, "post", post)
    assert not house.asker.ask(lost)
    assert asked == []


def _answered(data: bytes, *_: object) -> bytes:
    return data


def test_what_a_validator_makes_up_repairs_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.forward(house.notary.peer())
    lost = house.damage(3)
    monkeypatch.setattr(limits, "REPAIR_WAIT_S", 0.3)
    other = ACME.device("robot-1").clone()
    for _ in range(COUNT):
        other.record(4)
    stranger = ACME.device("stranger")
    stranger.record(2)
    answers: list[Any] = [
        [house.robot.segment(3, 4, elide=True)],
        [other.segment(3, 4)],
        [stranger.segments()[0]],
        [b"no segment"],
        [],
        {},
    ]
    for answer in answers:
        monkeypatch.setattr(Http, "post", partial(_answered, cbor.encode(answer)))
        assert not house.asker.ask(lost)
    monkeypatch.undo()
    assert house.asker.ask(lost)


def test_only_what_was_asked_for_is_taken(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.forward(house.notary.peer())
    lost = house.damage(3)
    answer = cbor.encode([house.robot.segment(at, at + 1) for at in range(COUNT)])
    monkeypatch.setattr(Http, "post", partial(_answered, answer))
    assert house.asker.ask(lost)
    # None of the others counts as a repetition by the device; it is the one that repaired.
    assert house.gate.refused() == {"replayed": 1}


class Elsewhere:
    """What validators answer instead of themselves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        self.asked = 0
        self.error: Exception | None = error
        self.post = Http.post
        this = self

        def post(http: Http, *given: Any) -> bytes:
            this.asked += 1
            if this.error is not None:
                raise this.error
            return this.post(http, *given)

        monkeypatch.setattr(Http, "post", post)


@pytest.mark.parametrize("status", [0, 429, 503])
def test_who_is_busy_or_silent_is_left_alone(
    house: House, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    house.forward(house.notary.peer())
    error: Any = TimedOut("unreachable", "nothing")
    if status:
        error = Refusal("over-quota", "later", status, None)
        error.retry_after_s = 20.0
    answers = Elsewhere(monkeypatch, error)
    lost = LostSegments(house.asker, house.stop)
    monkeypatch.setattr(lost, "_thread", threading.current_thread())
    for at in range(COUNT):
        lost.put(house.damage(at))
    now_s = time.monotonic()
    monkeypatch.setattr(asking, "monotonic", lambda: now_s)
    # One of six hears it, and all six wait.
    expected_s = 20.0 if status else asking.SILENT_S
    assert lost.turn() == expected_s
    assert answers.asked == 1
    assert lost.turn() == expected_s
    assert answers.asked == 1
    # Nobody forgets them: not the validator, and not the waits of the scrubber, which go on.
    now_s += expected_s
    answers.error = None
    assert lost.turn() is None
    assert answers.asked == 1 + COUNT
    reader = house.gate.store.reader()
    assert reader.execute("SELECT count(*) FROM damaged").fetchone() == (0,)
    reader.close()


def test_they_are_bounded_and_those_that_came_back_are_forgotten(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lostsegments, "LOST_MAX", 2)
    lost = LostSegments(house.asker, house.stop)
    monkeypatch.setattr(lost, "_thread", threading.current_thread())
    for at in (1, 2, 1, 3):
        lost.put(house.damage(at))
    assert list(lost._waiting) == [2, 3]
    with house.gate.store.write() as connection:
        connection.execute("DELETE FROM damaged")
    monkeypatch.setattr(house.asker, "_has", lambda *_: pytest.fail("it is whole"))
    assert lost.turn() is None
    assert not lost._waiting


def test_a_validator_that_hangs_holds_up_neither_holds_nor_the_stop(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that scrubs tells devices of holds, too."""
    monkeypatch.setattr(limits, "PRUNE_LOOK_S", 0.01)
    house.forward(house.notary.peer())
    house.damage(3)
    with house.gate.store.write() as connection:
        connection.execute("UPDATE damaged SET asked = 1")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        peer = house.peers[0]
        house.peers = [replace(peer, config=replace(peer.config, url=url))]
        scrubber = Scrubber(house.gate.store, lambda _: None, house.stop, house.gate.roots)
        lost = LostSegments(house.asker, house.stop)
        scrubber.ask_validators, scrubber.at_end = lost.put, lost.close
        turns: list[int] = []

        def also(now_ms: int) -> bool:
            turns.append(now_ms)
            raise KeyDriverError("key-unavailable", "the key of the gateway is away")

        scrubber.also = also
        thread = threading.Thread(target=scrubber.run, daemon=True)
        thread.start()
        asked, _ = mute.accept()
        before = len(turns)
        until(lambda: len(turns) > before + 3, "turns beside the question")
        house.stop.set()
        # A whole answer may take two minutes; the request is cut.
        thread.join(limits.HTTP_READ_S_MAX / 2)
        assert not thread.is_alive()
        assert lost._thread is not None
        assert not lost._thread.is_alive()
        asked.close()


def refused(house: House, **changes: Any) -> tuple[str, int]:
    """What the validator answers to a request that differs from a good one."""
    lost = house.damage(3)
    now_ms = time.time_ns() // 1_000_000
    fields = {
        "validator": house.notary.key.thumbprint(),
        "gateway": house.gate.signing.gateway,
        "epoch": lost.epoch,
        "from_": lost.first,
        "to": lost.until,
        "time_ms": now_ms,
        **{name: value for name, value in changes.items() if name not in {"sub", "signer"}},
    }
    signer, iss = changes.get("signer", (house.gate.signing._signer, "acme"))
    data = SegmentRequest(**fields).sign(signer, iss, changes.get("sub", lost.device))
    http = Http(house.notary.url)
    try:
        http.post("/v1/segments", data, {"Content-Type": COSE})
    except Refusal as error:
        return error.reason, error.status
    finally:
        http.close()
    return "", 200


def test_only_the_fleets_own_gateway_is_answered(house: House) -> None:
    house.forward(house.notary.peer())
    denied = ("not-authorised", 403)
    assert refused(house) == ("", 200)
    assert refused(house, sub=bytes(32)) == denied
    assert refused(house, gateway=bytes(32)) == denied
    assert refused(house, validator=bytes(32)) == denied
    assert refused(house, signer=(house.robot.signer, "acme")) == denied
    assert refused(house, gateway=house.robot.id, signer=(house.robot.signer, "acme")) == denied
    assert refused(house, time_ms=1) == ("expired", 400)
    # Not to whoever has no key: it would show who is a gateway of which fleet.
    assert refused(house, time_ms=1, signer=(house.robot.signer, "acme")) == denied


def test_strangers_keep_no_gateway_out(house: House) -> None:
    stranger = {"signer": (house.robot.signer, "acme")}
    answers = {refused(house, **stranger)[1] for _ in range(40)}
    assert answers == {403, 429}
    # From another place, through a proxy say: whoever signs is counted by itself.
    service = house.notary.service
    assert service is not None
    pace = SegmentPace()
    for _ in range(14):
        pace.arrives("127.0.0.1")
    for number in range(64):
        pace.signed(pace.arrives("127.0.0.1"), bytes([number]))
    for _ in range(16):
        pace.signed(pace.arrives("127.0.0.1"), b"gateway")
    place = pace.arrives("127.0.0.1")
    with pytest.raises(Problem) as caught:
        pace.signed(place, b"gateway")
    assert caught.value.status == 429
    pace.signed(pace.arrives("127.0.0.1"), b"another")


def test_another_fleets_gateway_is_denied(tmp_path: Path) -> None:
    borealis = Fleet("borealis")
    notary = Notary(tmp_path / "notary", ACME, borealis).start()
    house = House(tmp_path / "gateway", notary, borealis)
    try:
        house.forward(notary.peer())
        # It delivered this device's records, and is not of its fleet.
        assert refused(house) == ("not-authorised", 403)
        assert not house.asker.ask(house.damage(3))
    finally:
        house.close()
        notary.stop()


def test_the_gateway_asks_by_itself(
    tmp_path: Path, notary: Notary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PRUNE_LOOK_S", 0.05)
    site = Site(tmp_path / "site", ACME, 1, validators=notary.toml)
    robot = ACME.device()
    for _ in range(COUNT):
        robot.record(3)
    pairs = [(robot.id, data) for data in (robot.hello(), *robot.segments())]
    importing.take_in(site.config, pairs)
    gateway = Gateway(replace(site.config))
    gateway.start()
    try:
        until(lambda: site.status()["validators"][0]["receipts"] >= COUNT, "the receipts")
        with gateway.store.write_aside() as connection:
            connection.execute("UPDATE segments SET data = zeroblob(300) WHERE at = 3")
            # Its device was asked before.
            connection.execute("INSERT INTO damaged (at, found_ms, asked) VALUES (3, 1, 1)")
        until(lambda: site.status()["quarantine"]["damaged"] == 0, "the repair")
        until(lambda: site.status()["repaired_by_validators"] == 1, "the count")
    finally:
        gateway.stop()
    store = Store(site.config.store)
    with store.write() as connection:
        (data,) = connection.execute("SELECT data FROM segments WHERE at = 3").fetchone()
    store.close()
    assert data == robot.segments()[3]
