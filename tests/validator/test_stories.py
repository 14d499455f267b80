"""A gateway's two stories as a validator heard them: the proof that it serves convicts."""

import pytest

from support.devices import Fleet
from support.validating import Gateway, Room
from tallystick.evidence import misbehaviour
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.headproofs import TwoStories
from tallystick.evidence.keys import from_b64u
from tallystick.validator import queries
from tallystick.validator.problem import Problem
from tallystick.verify import Policy, check_evidence, load_evidence


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
