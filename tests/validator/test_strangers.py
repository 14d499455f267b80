"""Who has no part in it: other sites and days (A23), and what a stranger can guess (A24)."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.devices import Device, Fleet
from support.site import until
from support.validating import HANDOVER, TOKEN, Gateway, Room, compress, handover, load
from tallystick.evidence import claim, evidencefile, leaf, tree, verdict
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import b64u, from_b64u
from tallystick.evidence.verdict import Verdict
from tallystick.validator import routes
from tallystick.validator.service import Service

DAY_MS = 86_400_000


def verdicts(room: Room) -> list[Verdict]:
    rows = room.rows("SELECT data FROM entries WHERE kind = 10 ORDER BY entry")
    return [verdict.parse(data) for (data,) in rows]


def pair(fleet: Fleet, names: tuple[str, str]) -> tuple[Device, Device]:
    return fleet.device(names[0]), fleet.device(names[1])


def both(pair: tuple[Device, Device], task: str, namespace: str) -> None:
    """A matched handover of this pair."""
    giver, receiver = pair
    parties = {"giver": [giver.id], "receiver": [receiver.id]}
    for device, role, name in ((giver, "giver", "released"), (receiver, "receiver", "acquired")):
        device.claim(
            task, role, name, parties, HANDOVER.digest, namespace, item="x", position_m=[0, 0]
        )
        device.seal()


def test_an_order_of_another_site_is_another_interaction(room: Room, fleet: Fleet) -> None:
    here, there = pair(fleet, ("a", "b")), pair(fleet, ("c", "d"))
    both(here, "order-1", "dock-3")
    both(there, "order-1", "dock-9")
    # By who is in the other one: nothing of it contradicts what it said elsewhere.
    both(here, "order-1", "dock-10")
    gateway = Gateway(fleet)
    for device in (*here, *there):
        gateway.take(*device.segments())
    room.send(gateway.batch(devices=[*here, *there]))
    room.settle()
    found = verdicts(room)
    assert [one.finding.state for one in found] == ["matched"] * 3
    assert {one.finding.namespace for one in found} == {"dock-3", "dock-9", "dock-10"}
    assert len({one.finding.interaction for one in found}) == 3
    assert [one.uninvited for one in found] == [[]] * 3


def test_an_order_of_another_day_changes_nothing(room: Room, fleet: Fleet) -> None:
    """By others: theirs is another party set, and each lists the other as uninvited."""
    first, later = pair(fleet, ("a", "b")), pair(Fleet("borealis"), ("c", "d"))
    gateway = Gateway(fleet)
    both(first, "order-1", "dock-3")
    for device in first:
        gateway.take(*device.segments())
    room.send(gateway.batch(devices=[*first]))
    room.settle()
    (before,) = verdicts(room)
    room.clock.now_ms += DAY_MS
    both(later, "order-1", "dock-3")
    for device in later:
        gateway.take(*device.segments())
    room.send(gateway.batch(2, devices=[*later]))
    room.settle()
    assert room.states() == {"matched": 2}
    of_first = [one for one in verdicts(room) if one.finding.parties == before.finding.parties]
    assert {one.finding.encode() for one in of_first} == {before.finding.encode()}
    of_later = [one for one in verdicts(room) if one.finding.parties != before.finding.parties]
    assert len(of_later[-1].uninvited) == 1


# --- what a stranger can guess -------------------------------------------------------------------


class World:
    """A running validator with records that anybody can guess: "stop" and one handover."""

    def __init__(self, folder: Path) -> None:
        self.fleet = Fleet("acme")
        self.service = Service(load(folder, [self.fleet], tiles='"tiles"'))
        self.http = httpx2.Client(base_url=self.service.start(), timeout=20)
        self.giver, self.receiver = pair(self.fleet, ("a", "b"))
        for _ in range(6):
            self.giver.decision(model="stop", output={"action": "stop"})
        handover(self.giver, self.receiver, "order-1")
        gateway = Gateway(self.fleet)
        gateway.take(*self.giver.segments(), *self.receiver.segments())
        data = compress(gateway.batch(devices=[self.giver, self.receiver]))
        headers = {"Content-Encoding": "zstd", "Content-Type": "application/cose"}
        assert self.http.post("/v1/batches", content=data, headers=headers).status_code == 200
        until(lambda: self.http.get("/v1/status").json()["states"].get("matched"), "a verdict")

    def close(self) -> None:
        self.http.close()
        self.service.stop()

    def salts(self, device: Device) -> list[bytes]:
        """Of every record."""
        return [
            leaf.salt(sealed.seed, index)
            for sealed in device.stretches
            for index in range(sealed.first, sealed.to)
        ]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "validator")
    yield made
    made.close()


def inside(value: Any) -> Iterator[bytes]:
    """Every run of bytes in an answer's JSON."""
    if isinstance(value, dict):
        for one in value.values():
            yield from inside(one)
    elif isinstance(value, list):
        for one in value:
            yield from inside(one)
    elif isinstance(value, str):
        yield value.encode()
        with contextlib.suppress(Malformed):
            yield from_b64u(value, len(value) * 3 // 4)


def public(world: World) -> bytes:
    """All that the validator tells without a token."""
    one = world.http.get("/v1/interactions").json()["interactions"][0]
    filled = {
        "{namespace}": one["namespace"],
        "{id}": one["interaction"],
        "{device}": world.giver.text,
        "{epoch}": b64u(world.giver.epoch),
        "{index}": "3",
    }
    told = []
    for route in routes.ROUTES:
        if route.method != "GET" or route.path.endswith("/events"):
            continue
        path = route.path
        if path.startswith(("/v1/devices/", "/v1/gateways/")):
            path = path.replace("{id}", world.giver.text)
        for name, text in filled.items():
            path = path.replace(name, text)
        for tile in ("0/000", "entries/000") if "{tile}" in path else ("",):
            answer = world.http.get(path.replace("{tile}", tile))
            told.append(answer.content)
            if answer.headers["content-type"].startswith("application/json"):
                told += inside(json.loads(answer.content))
    size = world.http.get("/v1/status").json()["published"]
    for kind in ("0/000", "entries/000"):
        served = world.http.get(f"/tile/{kind}.p/{size}")
        assert served.status_code == 200
        told.append(served.content)
    return b"\\n".join(told)


def test_no_salt_and_no_seed_is_public(world: World) -> None:
    told = public(world)
    assert world.giver.leaves[-1] in told, "a claim's leaf is in the log"
    for device in (world.giver, world.receiver):
        for secret in [*(one.seed for one in device.stretches), *world.salts(device)]:
            assert secret not in told


def test_one_disclosed_record_gives_no_other_away(world: World) -> None:
    """Who knows every record but not its salt cannot tell which it was, whatever is disclosed."""
    path = f"/v1/evidence/records/{world.giver.text}/{b64u(world.giver.epoch)}/3"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    file = world.http.get(path, headers=headers).content
    (half,) = evidencefile.parse(file).halves
    salts = world.salts(world.giver)
    assert half.salt == salts[3]
    assert [n for n, salt in enumerate(salts) if salt in file] == [3]
    assert not any(one.seed in file for one in world.giver.stretches)
    assert len(set(salts)) == len(salts)
    records = [one for sealed in world.giver.stretches for one in sealed.records]
    leaves = set(world.giver.leaves)
    # The two of a pair share a digest; each has its own half of it.
    guesses = [(half.salt, record) for n, record in enumerate(records) if n != 3]
    guesses += [(bytes(16), record) for record in records] + [(b"", record) for record in records]
    guesses += [(bytes(16) + half.salt, record) for record in records]
    for salt, record in guesses:
        assert leaf.leaf(salt, record) not in leaves
        assert tree.leaf_hash(record) not in leaves
    assert claim.parse(records[-1]).role == "giver"
