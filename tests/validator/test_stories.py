"""A gateway's two stories as a validator heard them: the proof that it serves convicts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.devices import Fleet
from support.validating import Gateway, Room
from tallystick.evidence import misbehaviour
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.headproofs import TwoStories
from tallystick.evidence.keys import from_b64u
from tallystick.validator import queries, stories
from tallystick.validator.problem import Problem
from tallystick.verify import Policy, check_evidence, load_evidence
from tallystick.verify.stories import Told, contradiction


def served(room: Room, gateway: Gateway) -> TwoStories:
    with room.sequencer.store.read() as connection:
        (fork,) = queries.forks_of(connection, gateway.id).forks
    assert fork.portable is not None
    proof = misbehaviour.parse(from_b64u(fork.portable, len(fork.portable) * 3 // 4))
    assert isinstance(proof, TwoStories)
    return proof


@pytest.mark.parametrize(
    ("told", "first", "sizes"),
    [
        (1, 0, (1, 3)),
        (2, 0, (2, 3)),
        (2, 1, (2, 3)),
        (3, 0, (3, 3)),
        (2, 0, (2, 8)),
        (5, 3, (5, 8)),
    ],
)
def test_it_convicts_offline(
    room: Room, fleet: Fleet, told: int, first: int, sizes: tuple[int, int]
) -> None:
    device, gateway, other = fleet.device(), Gateway(fleet), Gateway(fleet)
    for _ in range(9):
        device.record(2)
    segments = device.segments()
    gateway.take(*segments[:told])
    room.send(gateway.batch(0, told, devices=[device]))
    # The same up to before the last one that the validator heard, and otherwise from there on.
    other.take(*segments[: told - 1], *segments[told : sizes[1] + 1])
    with pytest.raises(Problem) as refused:
        room.send(other.batch(first, sizes[1]))
    assert refused.value.reason == "gateway-fork"
    proof = served(room, gateway)
    assert (proof.first.size, proof.second.size) == sizes
    file = EvidenceFile([gateway.credential], [], [], [], [], [], None, [], proofs=[proof.encode()])
    policy = Policy.parse(f'roots = ["{fleet.root_line}"]\n')
    (proven,) = check_evidence(load_evidence(file.encode()), policy).proven
    assert proven.accused == (gateway.id,)


def test_one_that_tells_one_story_has_none(room: Room, fleet: Fleet) -> None:
    device, gateway = fleet.device(), Gateway(fleet)
    device.record(2)
    gateway.take(*device.segments())
    room.send(gateway.batch(devices=[device]))
    with room.sequencer.store.read() as connection:
        assert queries.forks_of(connection, gateway.id).forks == []


def heard(room: Room, gateway: Gateway) -> list[Told]:
    """What the room would show of a gateway, read as `tally proof` reads it."""
    found, after = [], 0
    while True:
        with room.sequencer.store.read() as connection:
            page = stories.heads_of(connection, gateway.id, after)
        for row in page.heads:
            items = [(one.level, from_b64u(one.hash, 32)) for one in row.items]
            edge = [from_b64u(one, 32) for one in row.edge]
            statement = from_b64u(row.statement, len(row.statement) * 3 // 4)
            found.append(Told(statement, row.first, edge, items))
        if page.next is None:
            return found
        after = page.next


@pytest.fixture
def second(tmp_path: Path, fleet: Fleet) -> Iterator[Room]:
    """Another validator."""
    made = Room(tmp_path / "second", [fleet])
    yield made
    made.close()


def test_two_validators_that_hear_two_stories_can_prove_it(
    room: Room, second: Room, fleet: Fleet
) -> None:
    # Never two heads of one size (A06 after A01's manner).
    device, gateway, other = fleet.device(), Gateway(fleet), Gateway(fleet)
    for _ in range(9):
        device.record(2)
    segments = device.segments()
    gateway.take(*segments[:7])
    other.take(*segments[:3], *segments[4:9])
    room.send(gateway.batch(0, 2, devices=[device]))
    room.send(gateway.batch(2, 7))
    second.send(other.batch(0, 3, devices=[device]))
    second.send(other.batch(3, 8))
    for pair in ((room, second), (second, room)):
        proof = contradiction(*(heard(one, gateway) for one in pair))
        assert proof is not None
        assert (proof.first.size, proof.second.size) == (7, 8)
        file = EvidenceFile(
            [gateway.credential], [], [], [], [], [], None, [], proofs=[proof.encode()]
        )
        policy = Policy.parse(f'roots = ["{fleet.root_line}"]\n')
        (proven,) = check_evidence(load_evidence(file.encode()), policy).proven
        assert proven.accused == (gateway.id,)


def test_one_story_differently_redacted_is_one(room: Room, second: Room, fleet: Fleet) -> None:
    device, gateway = fleet.device(), Gateway(fleet)
    for _ in range(40):
        device.record(1)
    gateway.take(*device.segments())
    for first in range(0, 40, 2):
        room.send(gateway.batch(first, first + 2, devices=[device]))
    second.send(gateway.batch(0, 9, devices=[device], elide=(3, 4)))
    second.send(gateway.batch(9, 37, elide=tuple(range(12, 30))))
    assert len(heard(room, gateway)) == 20
    assert contradiction(heard(room, gateway), heard(second, gateway)) is None
