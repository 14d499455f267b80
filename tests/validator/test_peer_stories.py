"""A06: a gateway that shows each of two validators another log is found within an exchange."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from support.devices import Device, Fleet
from support.guilt import stolen
from support.validating import Gateway, compress, load
from tallystick.evidence import credential, misbehaviour
from tallystick.evidence.headproofs import TwoStories
from tallystick.evidence.keys import device_text, from_b64u
from tallystick.validator import schema
from tallystick.validator.peerclient import PeerClient
from tallystick.validator.peers import Exchange
from tallystick.validator.peerstories import PeerStories
from tallystick.validator.service import Service

ZSTD = {"Content-Encoding": "zstd", "Content-Type": "application/cose"}


class Running:
    """A running validator."""

    def __init__(self, folder: Path, fleet: Fleet, name: str) -> None:
        self.service = Service(load(folder / name, [fleet], owner=name))
        self.http = httpx2.Client(base_url=self.service.start(), timeout=20)

    def hear(self, gateway: Gateway, first: int, end: int, **more: Any) -> None:
        data = compress(gateway.batch(first, end, **more))
        answer = self.http.post("/v1/batches", content=data, headers=ZSTD)
        assert answer.status_code == 200, answer.text

    def get(self, path: str) -> Any:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def suspect(self, gateway: Gateway) -> str | None:
        found: str | None = self.get(f"/v1/devices/{device_text(gateway.id)}")["suspect"]
        return found

    def close(self) -> None:
        self.http.close()
        self.service.stop()


@pytest.fixture
def two(tmp_path: Path, fleet: Fleet) -> Iterator[tuple[Running, Running]]:
    made = Running(tmp_path, fleet, "one"), Running(tmp_path, fleet, "two")
    yield made
    for one in made:
        one.close()


def asks(here: Running, there: Running) -> PeerStories:
    return PeerStories(here.service.sequencer, PeerClient(there.service.url))


def storytellers(fleet: Fleet) -> tuple[Device, Gateway, Gateway]:
    """A gateway as two validators hear it: equal at first, then without one segment."""
    device, gateway, other = fleet.device(), Gateway(fleet), Gateway(fleet)
    for _ in range(12):
        device.record(1)
    segments = device.segments()
    gateway.take(*segments[:9])
    other.take(*segments[:3], *segments[4:12])
    return device, gateway, other


def test_two_stories_are_found_whoever_asks_first(
    two: tuple[Running, Running], fleet: Fleet
) -> None:
    here, there = two
    device, gateway, other = storytellers(fleet)
    here.hear(gateway, 0, 2, devices=[device])
    there.hear(other, 0, 3, devices=[device])
    forward, backward = asks(here, there), asks(there, here)
    # Equal as far as both were told; the other one is ahead.
    assert (forward.turn(), backward.turn()) == (0, 0)
    here.hear(gateway, 2, 7)
    there.hear(other, 3, 8)
    assert (forward.turn(), backward.turn()) == (1, 1)
    for one in two:
        assert one.suspect(gateway) == "gateway-fork"
        (kept,) = one.get(f"/v1/devices/{device_text(gateway.id)}/forks")["forks"]
        proof = misbehaviour.parse(from_b64u(kept["portable"], len(kept["portable"]) * 3 // 4))
        assert isinstance(proof, TwoStories)
        assert (proof.first.size, proof.second.size) == (7, 8)
    # It is known now, and nobody asks again.
    assert (forward.turn(), backward.turn()) == (0, 0)


def test_what_the_peer_heard_ahead_is_compared_later(
    two: tuple[Running, Running], fleet: Fleet
) -> None:
    here, there = two
    device, gateway, other = storytellers(fleet)
    here.hear(gateway, 0, 3, devices=[device])
    there.hear(other, 0, 8, devices=[device])
    # As a validator asks its peer: for this beside everything else.
    exchange = Exchange(here.service.sequencer, PeerClient(there.service.url))
    assert exchange.turn() == 0
    here.hear(gateway, 3, 5)
    assert exchange.turn() == 1


def test_one_story_is_one(two: tuple[Running, Running], fleet: Fleet) -> None:
    here, there = two
    device, gateway, _ = storytellers(fleet)
    for first in range(0, 9, 3):
        here.hear(gateway, first, first + 3, devices=[device])
    there.hear(gateway, 0, 4, devices=[device], elide=(1, 2))
    there.hear(gateway, 4, 9, elide=(4, 5, 6))
    for exchange in (asks(here, there), asks(there, here)):
        assert (exchange.turn(), exchange.turn()) == (0, 0)
    assert (here.suspect(gateway), there.suspect(gateway)) == (None, None)


def test_a_stolen_key_proves_nothing_against_its_gateway(
    two: tuple[Running, Running], fleet: Fleet
) -> None:
    here, there = two
    device, gateway, other = storytellers(fleet)
    here.hear(gateway, 0, 7, devices=[device])
    there.hear(other, 0, 8, devices=[device])
    revoked = credential.Credential(stolen(fleet, gateway.credential))
    answer = here.http.post(
        "/v1/credentials",
        content=b"\x81" + revoked.encode(),
        headers={"Content-Type": "application/cbor"},
    )
    assert answer.status_code == 200, answer.text
    assert asks(here, there).turn() == 0
    assert here.suspect(gateway) is None
    # Who has not heard of the revocation finds it, and learns of that later.
    assert asks(there, here).turn() == 1


def test_a_peer_that_invents_a_story_is_not_believed(
    two: tuple[Running, Running], fleet: Fleet
) -> None:
    here, there = two
    device, gateway, other = storytellers(fleet)
    here.hear(gateway, 0, 7, devices=[device])
    there.hear(other, 0, 8, devices=[device])
    store = there.service.sequencer.store
    table = schema.gateway_heads
    with store.write() as connection:
        (head,) = connection.execute(sa.select(table.c.head)).scalars()
        forged = head[:-1] + bytes([head[-1] ^ 1])
        connection.execute(sa.update(table).values(head=forged))
    assert asks(here, there).turn() == 0
    assert here.suspect(gateway) is None
    assert here.get("/v1/status")["refusals"]["bad-signature"] == 1
    with store.write() as connection:
        connection.execute(sa.update(table).values(head=head[:-9]))
    assert asks(here, there).turn() == 0
    assert here.get("/v1/status")["refusals"]["truncated"] == 1
