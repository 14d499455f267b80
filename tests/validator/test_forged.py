"""A15, A16, A18 at a running validator: what is forged is refused, and the true one is taken."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import forged
from support.devices import Device, Fleet, key
from support.keychanges import rotate
from support.validating import Gateway, compress, handover, load
from tallystick.evidence import batchanswer, enrolment
from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import EDDSA, ES256
from tallystick.validator import publication
from validator.test_peers import ZSTD, Running


class World:
    """A running validator, and a gateway that hands on whatever it is given."""

    def __init__(self, folder: Path) -> None:
        self.fleet = Fleet("acme")
        self.running = Running(load(folder, [self.fleet]))
        self.gateway = Gateway(self.fleet)
        self.sent = 0

    def send(self, *segments: bytes, devices: list[Device] | None = None) -> list[str]:
        """The reasons for which segments are refused."""
        try:
            self.gateway.take(*segments)
        except TallyError:
            # No gateway takes it into its log; one that does all the same is refused altogether.
            return self._whole(segments)
        data = self.gateway.batch(self.sent, devices=devices)
        self.sent = len(self.gateway.items)
        answer = self.running.http.post("/v1/batches", content=compress(data), headers=ZSTD)
        assert answer.status_code == 200, answer.text
        return [reason for _, reason in batchanswer.parse(answer.content).refused]

    def _whole(self, segments: tuple[bytes, ...]) -> list[str]:
        gateway = self.gateway
        gateway.items += segments
        gateway.leaves += [bytes(32)] * len(segments)
        data = gateway.batch(self.sent)
        del gateway.items[self.sent :], gateway.leaves[self.sent :]
        answer = self.running.http.post("/v1/batches", content=compress(data), headers=ZSTD)
        assert answer.status_code == 400, answer.text
        return [answer.json()["reason"]]

    def published(self, *credentials: list[bytes]) -> list[str | None]:
        body = publication.encode([list(one) for one in credentials])
        headers = {"Content-Type": "application/cbor"}
        answer = self.running.http.post("/v1/credentials", content=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return [row["reason"] for row in answer.json()["credentials"]]

    def logged(self) -> int:
        size: int = self.running.get("/v1/status")["size"]
        return size


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "validator")
    yield made
    made.running.close()


@pytest.mark.parametrize("alg", [EDDSA, ES256])
def test_a_forged_signature_is_refused_and_the_true_one_is_taken(world: World, alg: int) -> None:
    device = world.fleet.device("a", alg)
    device.record(2)
    true = device.stretches[0].checkpoint
    assert world.send(devices=[device]) == []
    for name, statement in forged.forgeries(device.signer, true).items():
        device.stretches[0].checkpoint = statement
        assert world.send(device.segment()), name
    shown = world.running.device(device)
    assert shown["logs"] == []
    assert shown["suspect"] is None
    device.stretches[0].checkpoint = true
    assert world.send(device.segment()) == []
    assert world.running.device(device)["logs"][0]["size"] == 3


@pytest.mark.parametrize("alg", [EDDSA, ES256])
def test_a_forged_batch_is_refused_as_a_whole(world: World, alg: int) -> None:
    fleet = world.fleet
    signer = key(f"gateway {alg}", alg)
    gateway = Gateway(fleet)
    gateway.signer, gateway.credential = signer, fleet.enrol(signer, enrolment.SUBJECT_GATEWAY)
    device = fleet.device("a")
    device.record(1)
    gateway.take(device.segment())
    true = gateway.batch(devices=[device])
    # A batch is a statement too: the same forgeries, over its own content.
    for name, data in forged.forgeries(signer, true).items():
        answer = world.running.http.post("/v1/batches", content=compress(data), headers=ZSTD)
        assert answer.status_code in {400, 403}, (name, answer.text)
    answer = world.running.http.post("/v1/batches", content=compress(true), headers=ZSTD)
    assert answer.status_code == 200, answer.text


def test_bad_credentials_are_refused_at_both_doors(world: World) -> None:
    for name, (credential, reason) in forged.credentials(world.fleet).items():
        assert world.published(credential) == [reason], name
    before = world.logged()
    device = world.fleet.device("a")
    device.record(1)
    bad = [made for made, _ in forged.credentials(world.fleet).values()]
    devices = [Device(world.fleet, device.signer, credential) for credential in bad]
    # Bad ones among good ones: each is counted, and affects no other.
    assert world.send(device.segment(), devices=[*devices, device]) == []
    assert world.running.device(device)["logs"][0]["size"] == 2
    assert world.running.get("/v1/devices")["total"] == 1
    assert world.logged() > before


def test_a_key_is_enrolled_once(world: World) -> None:
    one, two = world.fleet.device("a"), world.fleet.device("b")
    one.record(1)
    two.record(1)
    assert world.send(one.segment(), two.segment(), devices=[one, two]) == []
    # As a gateway, as another device's next key, and anew for the same id.
    as_gateway = world.fleet.enrol(one.signer, enrolment.SUBJECT_GATEWAY)
    stolen = rotate(two, one.signer).credential
    anew = world.fleet.enrol(one.signer, valid_s=(1_600_000_001, 4_000_000_000))
    assert world.published(as_gateway, stolen, anew) == ["already-enrolled"] * 3
    # A key that was rotated away still belongs to its id.
    renewed = rotate(one, key("second key of a"))
    assert world.published(renewed.credential) == [None]
    back = rotate(two, one.signer).credential
    assert world.published(back) == ["already-enrolled"]
    handover(renewed, two, "order-1")
    assert world.send(renewed.segment(1)) == []
