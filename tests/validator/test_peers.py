"""A01: one cloned key, two branches, two validators that each heard one of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.devices import Device, Fleet, key
from support.keychanges import head_of, revoke, rotate
from support.site import until
from support.validating import Gateway, Room, compress, handover, load, write_config
from tallystick.evidence import cbor, checkpoint, credential, forkproof, keychange
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.credential import Credential, verify_credential
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.keys import b64u, from_b64u
from tallystick.evidence.proof import verify_consistency
from tallystick.validator import answers, follow, peers, publication
from tallystick.validator import config as configs
from tallystick.validator.config import Config
from tallystick.validator.devicelog import split
from tallystick.validator.peerclient import PeerClient
from tallystick.validator.peers import Exchange
from tallystick.validator.routes import CBOR
from tallystick.validator.service import Service

ZSTD = {"Content-Encoding": "zstd", "Content-Type": "application/cose"}


class Running:
    """A running validator and its HTTP interface."""

    def __init__(self, config: Config) -> None:
        self.service = Service(config)
        self.http = httpx2.Client(base_url=self.service.start(), timeout=20)

    @property
    def url(self) -> str:
        return self.service.url

    def post(self, data: bytes) -> None:
        answer = self.http.post("/v1/batches", content=compress(data), headers=ZSTD)
        assert answer.status_code == 200, answer.text

    def get(self, path: str, **query: Any) -> Any:
        answer = self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def device(self, device: Device) -> Any:
        return self.get(f"/v1/devices/{device.text}")

    def states(self) -> dict[str, int]:
        found: dict[str, int] = self.get("/v1/status")["states"]
        return found

    def close(self) -> None:
        self.http.close()
        if self.service.running:
            self.service.stop()


@pytest.fixture
def two(tmp_path: Path, fleet: Fleet) -> Iterator[tuple[Running, Running]]:
    """Two validators; the second one asks the first."""
    one = Running(load(tmp_path / "one", [fleet]))
    path = write_config(tmp_path / "two", [fleet])
    path.write_text(
        path.read_text() + f'\n[[peers]]\nname = "one"\nurl = "{one.url}"\npoll_s = 0.1\n'
    )
    other = Running(configs.load(path))
    yield one, other
    other.close()
    one.close()


def clones(fleet: Fleet, common: int, honest: int, cloned: int) -> tuple[Device, Device, Device]:
    """A device and its clone, which share a past; and the receiver of a handover in it."""
    device, receiver = fleet.device("a"), fleet.device("b")
    device.record(common)
    handover(device, receiver, "order-1")
    clone = device.clone()
    for _ in range(honest):
        device.record(3)
    clone.decision("let go")
    clone.record(1)
    for _ in range(cloned - 1):
        clone.record(3)
    return device, clone, receiver


@pytest.mark.parametrize(("honest", "cloned"), [(5, 2), (2, 5), (1, 1), (9, 1)])
def test_two_branches_at_two_validators_are_found_within_one_exchange(
    two: tuple[Running, Running], fleet: Fleet, honest: int, cloned: int
) -> None:
    one, other = two
    device, clone, receiver = clones(fleet, 5, honest, cloned)
    north, south = Gateway(fleet, "north"), Gateway(fleet, "south")
    assert not {s.to for s in device.stretches[2:]} & {s.to for s in clone.stretches[2:]}
    north.take(*device.segments(), *receiver.segments())
    south.take(*clone.segments(), *receiver.segments())
    one.post(north.batch(devices=[device, receiver]))
    other.post(south.batch(devices=[clone, receiver]))
    until(lambda: other.device(device)["suspect"], "the fork")
    assert other.device(device)["status"] == "suspect"
    until(lambda: other.states() == {"insufficient": 1}, "a superseding verdict")
    (kept,) = other.get(f"/v1/devices/{device.text}/forks")["forks"]
    proof = forkproof.parse(from_b64u(kept["portable"], len(kept["portable"]) * 3 // 4))
    identity = verify_credential(Credential(device.credential), fleet.roots)
    heads = {head.digest for head in proof.verify(identity)}
    for branch in (device, clone):
        own = {checkpoint.parse(one.checkpoint).digest for one in branch.stretches[2:]}
        assert len(own & heads) == 1
    # Both branches are kept: each validator has its own, and the other one's head is logged.
    entries = other.get("/v1/entries", count=1000)["entries"]
    logged = [entry["data"] for entry in entries]
    assert b64u(device.stretches[-1].checkpoint) in logged
    # The first one learns it by asking too.
    exchange = Exchange(one.service.sequencer, PeerClient(other.url))
    assert exchange.turn() == 1
    assert one.device(device)["suspect"] == "fork"
    assert exchange.turn() == 0
    until(lambda: one.states() == {"insufficient": 1}, "a superseding verdict")
    for validator, branch, foreign in ((one, device, clone), (other, clone, device)):
        logged = [row["data"] for row in validator.get("/v1/entries", count=1000)["entries"]]
        assert {b64u(sealed.checkpoint) for sealed in branch.stretches} <= set(logged)
        assert {b64u(sealed.checkpoint) for sealed in foreign.stretches[2:]} & set(logged)
        # What it holds of its own branch is all still there, to the last record.
        (log,) = validator.device(branch)["logs"]
        assert (log["began"], log["size"], log["covered"]) == (0, branch.size, branch.size)


def test_a_fork_in_a_fleet_that_was_removed_stops_no_exchange(
    two: tuple[Running, Running], fleet: Fleet
) -> None:
    one, other = two
    device, clone, receiver = clones(fleet, 5, 2, 2)
    north, south = Gateway(fleet, "north"), Gateway(fleet, "south")
    north.take(*device.segments(), *receiver.segments())
    south.take(*clone.segments(), *receiver.segments())
    one.post(north.batch(devices=[device, receiver]))
    other.post(south.batch(devices=[clone, receiver]))
    until(lambda: other.device(device)["suspect"], "the fork")
    one.service.sequencer.config.roots.clear()
    exchange = Exchange(one.service.sequencer, PeerClient(other.url))
    # Twice, for what waited after the first.
    assert (exchange.turn(), exchange.turn()) == (0, 0)
    assert one.device(device)["suspect"] is None


def test_the_same_log_at_two_validators_is_no_fork_however_far_each_is(
    two: tuple[Running, Running], fleet: Fleet
) -> None:
    one, other = two
    device, gateway, behind = fleet.device("a"), Gateway(fleet), Gateway(fleet, "behind")
    for _ in range(6):
        device.record(7)
    segments = device.segments()
    gateway.take(*segments[:5])
    behind.take(*segments[:2])
    one.post(gateway.batch(devices=[device]))
    other.post(behind.batch(devices=[device]))
    forward = Exchange(other.service.sequencer, PeerClient(one.url))
    backward = Exchange(one.service.sequencer, PeerClient(other.url))
    assert (forward.turn(), backward.turn()) == (0, 0)
    behind.take(*segments[2:])
    other.post(behind.batch(2))
    assert (forward.turn(), backward.turn()) == (0, 0)
    assert [v.device(device)["suspect"] for v in two] == [None, None]


def test_a_branch_that_comes_after_a_peer_was_asked_is_found_with_the_next_exchange(
    tmp_path: Path, fleet: Fleet
) -> None:
    one, other = Running(load(tmp_path / "1", [fleet])), Running(load(tmp_path / "2", [fleet]))
    device, clone, receiver = clones(fleet, 4, 6, 2)
    north, south = Gateway(fleet, "north"), Gateway(fleet, "south")
    north.take(*device.segments())
    south.take(*clone.segments()[:2])
    one.post(north.batch(devices=[device, receiver]))
    other.post(south.batch(devices=[clone, receiver]))
    exchange = Exchange(other.service.sequencer, PeerClient(one.url))
    assert exchange.turn() == 0
    # The peer says nothing new, and our own log grows another way than its head has it.
    south.take(*clone.segments()[2:])
    other.post(south.batch(2))
    assert exchange.turn() == 1
    one.close()
    other.close()


def test_a_peer_that_is_away_is_shown_and_holds_up_nothing(
    two: tuple[Running, Running], fleet: Fleet
) -> None:
    one, other = two
    until(lambda: other.get("/v1/status")["peers"] == {"one": "answers"}, "the first answer")
    assert one.get("/v1/status")["peers"] == {}
    one.service.stop()
    until(lambda: other.get("/v1/status")["peers"] == {"one": "away"}, "its absence")
    device, gateway = fleet.device("a"), Gateway(fleet)
    device.record(1)
    gateway.take(device.segment())
    other.post(gateway.batch(devices=[device]))


def test_key_changes_travel_between_validators(two: tuple[Running, Running], fleet: Fleet) -> None:
    one, other = two
    device, gateway = fleet.device("a"), Gateway(fleet)
    device.record(3)
    gateway.take(device.segment())
    for validator in two:
        validator.post(gateway.batch(devices=[device]))
    device.credential = revoke(device, keychange.RETIRED, head_of(device))
    # Of a device that sends nothing any more.
    body = publication.encode([device.credential])
    answer = one.http.post("/v1/credentials", content=body, headers={"Content-Type": CBOR})
    assert answer.status_code == 200, answer.text
    until(lambda: other.device(device)["status"] == "retired", "the peer's longer credential")

    def changes() -> int:
        entries = other.get("/v1/entries", count=1000)["entries"]
        return [entry["kind"] for entry in entries].count(7)

    # Published a moment after it counts.
    until(lambda: changes() > 0, "the key change's entry")
    assert changes() == 1


def test_a_revocation_counts_for_a_device_that_is_shown_without_it_later(
    two: tuple[Running, Running], fleet: Fleet
) -> None:
    """A17: who shows a device first may leave out that its key was revoked."""
    one, other = two
    device, receiver = fleet.device("a"), fleet.device("b")
    handover(device, receiver, "order-1")
    body = publication.encode([revoke(device, keychange.COMPROMISED, None)])
    answer = one.http.post("/v1/credentials", content=body, headers={"Content-Type": CBOR})
    assert answer.status_code == 200, answer.text
    exchange = Exchange(other.service.sequencer, PeerClient(one.url))
    exchange.turn()
    rogue = Gateway(fleet, "rogue")
    rogue.take(*device.segments(), *receiver.segments())
    other.post(rogue.batch(devices=[device, receiver]))
    exchange.turn()
    assert other.device(device)["status"] == "compromised"
    until(lambda: other.states() == {"insufficient": 1}, "no verdict by a stolen key")


def test_fork_proofs_by_other_keys_cost_the_writer_nothing(
    room: Room, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, gateway = fleet.device("a"), Gateway(fleet)
    device.record(3)
    gateway.take(device.segment())
    room.send(gateway.batch(devices=[device]))
    stranger = Fleet(fleet.name).device("stranger")
    rows = []
    for number in range(300):
        roots = [bytes([side, number & 255, number >> 8]) + bytes(29) for side in (0, 1)]
        heads = [
            Checkpoint(device.epoch, 3, root, 0, 1, 1).sign(stranger.signer, fleet.name, device.id)
            for root in roots
        ]
        first, second = map(checkpoint.parse, heads)
        proof = forkproof.between(first, second, None).encode()
        rows.append(answers.ForkProof(device.text, b64u(device.epoch), b64u(proof), 1))
    client = PeerClient("http://127.0.0.1:9")
    monkeypatch.setattr(client, "get", lambda *_, **__: answers.ForkProofs(rows))
    exchange = Exchange(room.sequencer, client)
    # Nobody takes what is handed in here: it would wait for ever.
    assert exchange._fork_proofs() == 0
    assert room.rows("SELECT suspect FROM identities WHERE subject = 0") == [(None,)]


def test_a_revocation_comes_in_while_somebody_else_floods_the_door(
    two: tuple[Running, Running], fleet: Fleet
) -> None:
    one, _ = two
    device = fleet.device("a")
    body = publication.encode([device.credential])
    with httpx2.Client(
        base_url=one.url, transport=httpx2.HTTPTransport(local_address="127.0.0.2"), timeout=60
    ) as flood:
        codes = [
            flood.post("/v1/credentials", content=body, headers={"Content-Type": CBOR}).status_code
            for _ in range(40)
        ]
    assert codes[-1] == 429
    revoked = publication.encode([revoke(device, keychange.COMPROMISED, None)])
    answer = one.http.post("/v1/credentials", content=revoked, headers={"Content-Type": CBOR})
    assert answer.status_code == 200, answer.text
    assert one.device(device)["status"] == "compromised"


def test_more_key_changes_than_fit_in_one_turn_come_with_the_next(
    two: tuple[Running, Running], fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    devices = [fleet.device(f"robot-{n}") for n in range(5)]
    enrolled = [device.credential for device in devices]
    for service in (one, other):
        body = publication.encode(enrolled)
        service.http.post("/v1/credentials", content=body, headers={"Content-Type": CBOR})
    body = publication.encode([revoke(device, keychange.RETIRED, None) for device in devices])
    monkeypatch.setattr(peers, "PEER_CREDENTIALS_PER_TURN_MAX", 2)
    one.http.post("/v1/credentials", content=body, headers={"Content-Type": CBOR})
    until(
        lambda: {other.device(device)["status"] for device in devices} == {"retired"}, "all of them"
    )


def test_an_old_keys_branch_at_a_peer_proves_nothing_against_the_new_key(
    two: tuple[Running, Running], fleet: Fleet
) -> None:
    one, other = two
    device, gateway, rogue = fleet.device("a"), Gateway(fleet), Gateway(fleet, "rogue")
    device.record(3)
    thief = device.clone()
    renewed = rotate(device, key("second key of a"))
    renewed.record(2)
    thief.decision("let go")
    thief.record(4)
    # The peer knows of no rotation yet and takes the thief's branch for the log.
    rogue.take(*thief.segments())
    one.post(rogue.batch(devices=[thief]))
    gateway.take(*renewed.segments())
    other.post(gateway.batch(devices=[renewed]))
    exchange = Exchange(other.service.sequencer, PeerClient(one.url))
    assert exchange.turn() == 0
    assert other.device(renewed)["suspect"] is None
    back = Exchange(one.service.sequencer, PeerClient(other.url))
    assert back.turn() == 0
    assert one.device(renewed)["suspect"] is None


def test_what_a_lying_peer_answers_changes_nothing(room: Room, fleet: Fleet) -> None:
    device, gateway = fleet.device("a"), Gateway(fleet)
    device.record(3)
    gateway.take(device.segment())
    room.send(gateway.batch(devices=[device]))
    exchange = Exchange(room.sequencer, PeerClient("http://127.0.0.1:9"))
    stranger = Fleet("stranger").device("a")
    stranger.record(9)
    forged = answers.Head(
        device.text, b64u(device.epoch), 10, 5, b64u(stranger.stretches[0].checkpoint)
    )
    with pytest.raises(TallyError):
        exchange._head(forged.__class__(*[*_values(forged)[:4], "AAAA"]))
    assert exchange._head(forged) == 0  # who is not known here has signed nothing here
    clone = device.clone()
    device.record(5)
    good = checkpoint.parse(device.stretches[1].checkpoint)
    lie = {"size1": device.stretches[0].to, "size2": good.size, "path": [bytes(32)]}
    with pytest.raises(TallyError):
        verify_consistency(lie["size1"], bytes(32), good.size, good.root, [bytes(32)])  # type: ignore[arg-type]  # a lie
    # A proof that shows no contradiction is none.
    clone.record(1)
    with pytest.raises(Unverified):
        forkproof.between(
            checkpoint.parse(device.stretches[0].checkpoint),
            checkpoint.parse(clone.stretches[0].checkpoint),
            None,
        )
    assert room.rows("SELECT suspect FROM identities WHERE subject = 0") == [(None,)]


def _values(head: answers.Head) -> list[Any]:
    return [getattr(head, name) for name in head.__struct_fields__]


def test_every_path_between_two_sizes_is_right(room: Room, fleet: Fleet) -> None:
    device, gateway = fleet.device("a"), Gateway(fleet)
    for count in (1, 4, 2, 9, 3, 1, 7, 5):
        device.record(count)
    gateway.take(*device.segments())
    room.send(gateway.batch(devices=[device]))
    with room.sequencer.store.read() as connection:
        row = follow.log_of(connection, device.id, device.epoch)
        for n in range(1, device.size + 1):
            read = follow.StoredNodes(connection, row.log, row.size, split(row.edge))
            assert read.root(n) == device.tree(n).root()
            for m in range(1, n + 1):
                made = follow.consistency(connection, device.id, device.epoch, m, n)
                root1, root2 = from_b64u(made.root1, 32), from_b64u(made.root2, 32)
                path = [from_b64u(one, 32) for one in made.path]
                assert (root1, root2) == (device.tree(m).root(), device.tree(n).root())
                verify_consistency(m, root1, n, root2, path)


def test_a_credential_is_served_as_it_was_learnt(
    two: tuple[Running, Running], fleet: Fleet
) -> None:
    device, gateway = fleet.device("a"), Gateway(fleet)
    device.record(1)
    gateway.take(device.segment())
    two[0].post(gateway.batch(devices=[device]))
    data = two[0].http.get(f"/v1/devices/{device.text}/credential").content
    assert credential.parse(data).statements == device.credential
    assert cbor.decode(data) == device.credential
