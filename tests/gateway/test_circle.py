"""The peers folder of a gateway: its peers' roots and validators, while it runs (5.6)."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.devices import Fleet
from support.gateways import MemoryGateway
from support.notary import Notary
from support.site import until
from tallystick.evidence import peerfile
from tallystick.evidence.enrolment import SUBJECT_VALIDATOR
from tallystick.gateway import check
from tallystick.gateway import config as configs
from tallystick.gateway.circle import Circle
from tallystick.gateway.config import Config
from tallystick.gateway.quotas import wall_ms
from tallystick.gateway.retention import Retention
from tallystick.gateway.validatorconfig import ValidatorConfig
from tallystick.gateway.way import Way

ACME, NOTARY, BOREALIS = Fleet("acme"), Fleet("notary"), Fleet("borealis")


class Site:
    """A gateway with a peers folder, without a broker; `turn` is what it does each second."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.peers = folder / "peers"
        self.peers.mkdir()
        self.gate = MemoryGateway(folder, ACME)
        self.now_ms = wall_ms()
        self.open()

    def open(self, **changed: Any) -> None:
        broker = configs.BrokerConfig(client_id="x")
        self.config = Config(
            name="gate", fleet="acme", key="file:x", credential=(), store=self.gate.path,
            roots=dict(ACME.roots), broker=broker, peer_files=self.peers, peer_send="full",
            **changed,
        )  # fmt: skip
        # The core verifies by these roots, as a gateway's does.
        self.gate.roots = self.config.roots
        self.gate.reopen()
        self.circle = Circle(
            self.config, self.gate.store, self._way, self.gate.worker.forget_identities,
            lambda: self.now_ms,
        )  # fmt: skip
        self.circle.open()
        for way in self.circle.ways.values():
            way.start()

    def _way(self, peer: Any, stop: threading.Event) -> Way:
        return Way(
            peer, self.gate.store, self.gate.signing, tuple(self.gate.credential),
            self.gate.down_queue, stop, retry_s_max=0.2,
        )  # fmt: skip

    def put(self, fleet: Fleet, data: bytes) -> None:
        partial = self.peers / "partial"
        partial.write_bytes(data)
        partial.replace(self.peers / f"{fleet.name}.peer")

    def file(self, fleet: Fleet, url: str | None = None, **changed: Any) -> bytes:
        credential = fleet.member("validator", SUBJECT_VALIDATOR)[1]
        now_s = self.now_ms // 1000
        fields: dict[str, Any] = {
            "organisation": fleet.name,
            "made_ms": self.now_ms,
            "validity": [now_s - 10, now_s + 400 * 86_400],
            "roots": [(fleet.name, fleet.root.public_key())],
            "gateways": [],
            "validators": [] if url is None else [(url, credential)],
            **changed,
        }
        made = peerfile.PeerFile(**fields)
        return made.sign(fleet.root, fleet.name, fleet.root.public_key().thumbprint())

    def told(self) -> dict[str, str]:
        return {row["name"]: row["state"] for row in self.circle.told()}

    def close(self) -> None:
        for way in self.circle.ways.values():
            way.stop()
            for thread in way.threads:
                thread.join(60)
        self.gate.store.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def test_an_import_is_served_at_once_and_a_removal_ends_it(site: Site, tmp_path: Path) -> None:
    notary = Notary(tmp_path / "notary", ACME).start()
    robot = ACME.device()
    site.gate.know(robot)
    robot.record(4)
    site.gate.give(robot, robot.segment(0))
    try:
        site.put(NOTARY, site.file(NOTARY, notary.url))
        assert site.circle.turn()
        (name,) = site.circle.ways
        assert name.startswith("notary.")
        named = replace(site.config, retention=Retention(validators=(name,)))
        assert f"not at {name};" in check._retention(named)
        until(lambda: rows(site)[name]["cursor"] == 1, "the segment at the new validator")
        assert rows(site)[name]["receipts"] == 1
        assert not site.circle.turn()
        way = site.circle.ways[name]
        (site.peers / "notary.peer").unlink()
        assert site.circle.turn()
        assert site.circle.ways == {}
        for thread in way.threads:
            thread.join(60)
            assert not thread.is_alive()
        # It comes back: what it has is not sent again.
        robot.record(4)
        site.gate.give(robot, robot.segment(1))
        site.put(NOTARY, site.file(NOTARY, notary.url))
        site.circle.turn()
        until(lambda: rows(site)[name]["cursor"] == 2, "the second segment")
        assert rows(site)[name]["batches"] == 2
    finally:
        site.close()
        notary.stop()
        site.gate.reopen()


def rows(site: Site) -> dict[str, dict[str, Any]]:
    found: Any = site.gate.status()["validators"]
    return {row["name"]: row for row in found}


def test_devices_of_a_peer_are_known_while_it_is_one(site: Site) -> None:
    robot = BOREALIS.device("b-1")
    robot.record(2)
    site.gate.give(robot, robot.hello())
    assert site.gate.refused() == {"not-enrolled": 1}
    site.put(BOREALIS, site.file(BOREALIS))
    site.circle.turn()
    site.gate.give(robot, robot.hello(), robot.segment(0))
    assert len(site.gate.custody(robot)) == 1
    (site.peers / "borealis.peer").unlink()
    site.circle.turn()
    robot.record(2)
    site.gate.give(robot, robot.segment(1))
    assert site.gate.refused()["unknown-device"] == 1
    assert len(site.gate.custody(robot)) == 1, "what was taken is kept, nothing new is taken"


def test_a_bad_file_changes_nothing_also_after_a_restart(site: Site) -> None:
    good = site.file(BOREALIS)
    site.put(BOREALIS, good)
    site.circle.turn()
    for bad in (good[:-20], b"", site.file(BOREALIS, made_ms=5), site.file(Fleet("borealis", -7))):
        site.put(BOREALIS, bad)
        assert not site.circle.turn()
        (row,) = site.circle.told()
        assert row["state"] == "in-force" and row["problem"]
        assert site.config.roots["borealis"] == BOREALIS.root.public_key()
    site.open()
    assert site.config.roots["borealis"] == BOREALIS.root.public_key()
    assert site.told() == {"borealis": "in-force"}


def test_a_folder_that_is_away_removes_nobody(site: Site) -> None:
    site.put(BOREALIS, site.file(BOREALIS))
    site.circle.turn()
    site.peers.rename(site.folder / "elsewhere")
    assert not site.circle.turn()
    assert "borealis" in site.config.roots


def test_an_expired_peer_is_none(site: Site) -> None:
    site.put(BOREALIS, site.file(BOREALIS))
    site.circle.turn()
    site.now_ms += 380 * 86_400_000
    assert not site.circle.turn()
    assert site.told() == {"borealis": "expires-soon"}
    site.now_ms += 30 * 86_400_000
    assert site.circle.turn()
    assert site.told() == {"borealis": "expired"} and "borealis" not in site.config.roots


def test_who_is_configured_by_hand_is_not_served_twice(site: Site) -> None:
    url = "http://127.0.0.1:9"
    by_hand = ValidatorConfig(name="theirs", url=url, key=("notary", ACME.root.public_key()))
    site.put(NOTARY, site.file(NOTARY, url))
    site.open(validators=(by_hand,))
    assert site.told() == {"notary": "in-force"}
    assert site.circle.ways == {}


def test_a_store_that_fails_changes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put(BOREALIS, site.file(BOREALIS))

    def fail() -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(site.gate.store, "write_aside", fail)
        assert not site.circle.turn()
    assert "borealis" not in site.config.roots
    assert site.circle.turn() and "borealis" in site.config.roots


def test_a_way_that_could_not_be_made_is_made_later(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put(NOTARY, site.file(NOTARY, "http://127.0.0.1:9"))

    def fail(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(site.circle, "_make_way", fail)
        assert not site.circle.turn()
    assert site.circle.ways == {}
    site.circle.turn()
    assert len(site.circle.ways) == 1


def test_a_validator_whose_enrolment_ended_is_not_served(site: Site) -> None:
    """Though its organisation's file is in force."""
    signer = NOTARY.member("validator", SUBJECT_VALIDATOR)[0]
    now_s = site.now_ms // 1000
    short = NOTARY.enrol(signer, SUBJECT_VALIDATOR, (now_s - 10, now_s + 60))
    site.put(NOTARY, site.file(NOTARY, validators=[("http://127.0.0.1:9", short)]))
    site.circle.turn()
    assert len(site.circle.ways) == 1
    site.now_ms += 61_000
    assert not site.circle.turn()
    assert site.circle.ways == {} and site.told() == {"notary": "in-force"}


def test_check_looks_into_the_folder(site: Site) -> None:
    from tallystick.gateway.check import _peers_check

    assert _peers_check(site.config).found == "nobody was imported"
    site.put(BOREALIS, site.file(BOREALIS))
    assert _peers_check(site.config).found == "borealis"
    site.put(BOREALIS, site.file(BOREALIS)[:-1])
    found = _peers_check(site.config)
    assert not found.good and "borealis.peer" in found.found and "replace" in found.what_to_do
    site.peers.rename(site.folder / "elsewhere")
    assert "no folder yet" in _peers_check(site.config).found
