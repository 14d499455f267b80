"""F10: a damaged segment that its device does not have any more comes back from a validator."""

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
from tallystick.evidence.segmentrequest import SegmentRequest
from tallystick.gateway import importing, limits
from tallystick.gateway.asking import Asker, Lost, repaired
from tallystick.gateway.forward import Forwarder
from tallystick.gateway.http import COSE, Http, Refusal
from tallystick.gateway.peers import Peer
from tallystick.gateway.service import Gateway
from tallystick.gateway.store import Store

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
        self.thread.join(10)
        self.gate.store.close()


@pytest.fixture
def notary(tmp_path: Path) -> Iterator[Notary]:
    made = Notary(tmp_path / "notary", ACME).start()
    yield made
    made.stop()


@pytest.fixture
def house(tmp_path: Path, notary: Notary) -> Iterator[House]:
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
