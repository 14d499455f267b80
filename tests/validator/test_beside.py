"""What changes a finding's inputs while a worker's proposal waits: it is found anew.

The same stories as with one process, told to a validator at which every set is proposed for before
each batch, and not taken (support/beside.py): claims, other maps, silence, forks, key changes,
leaves and bodies that come late, profiles, neighbours, erasures. And in any order.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from support.beside import Beside, last_findings
from support.devices import Fleet
from support.validating import HANDOVER, START_MS, Gateway, Room, handover
from tallystick.evidence import erasure
from tallystick.evidence.erasure import Erasure
from tallystick.evidence.kinds import CLAIM
from tallystick.tools.postgres import Postgres
from tallystick.validator import schema, steps
from tallystick.validator.problem import Problem
from tallystick.validator.reconcileduty import ReconcileDuty
from tallystick.validator.workers import Worker
from validator.test_keychanges import (
    test_a_named_head_that_comes_after_the_revocation_shows_the_branch,
    test_a_revocation_settles_what_a_fork_left_open,
)
from validator.test_neighbours import (
    BAYS,
    TEXT,
    World,
    crowd,
    test_a_key_that_turns_out_bad_frees_its_neighbours,
    test_an_acquisition_that_comes_last_is_found,
    test_what_was_erased_takes_no_verdict_back,
)
from validator.test_reconciler import (
    test_a_claim_that_is_known_by_its_leaf_is_insufficient_until_its_body_comes,
    test_a_fork_makes_findings_again_with_a_suspect_key,
    test_a_late_claim_gives_a_new_verdict,
    test_a_leaf_that_comes_after_the_claim_that_relied_on_it,
    test_a_leafs_device_that_contradicts_itself_changes_what_relied_on_it,
    test_a_profile_that_comes_later_makes_the_finding,
    test_a_revocation_makes_findings_again,
    test_a_strangers_party_map_is_uninvited_and_changes_nothing,
    test_one_device_in_two_maps_contradicts_itself,
    test_silence_needs_a_logged_checkpoint_that_names_custody_after_the_deadline,
)

__all__ = [
    "test_a_claim_that_is_known_by_its_leaf_is_insufficient_until_its_body_comes",
    "test_a_fork_makes_findings_again_with_a_suspect_key",
    "test_a_key_that_turns_out_bad_frees_its_neighbours",
    "test_a_late_claim_gives_a_new_verdict",
    "test_a_leaf_that_comes_after_the_claim_that_relied_on_it",
    "test_a_leafs_device_that_contradicts_itself_changes_what_relied_on_it",
    "test_a_named_head_that_comes_after_the_revocation_shows_the_branch",
    "test_a_profile_that_comes_later_makes_the_finding",
    "test_a_revocation_makes_findings_again",
    "test_a_revocation_settles_what_a_fork_left_open",
    "test_a_strangers_party_map_is_uninvited_and_changes_nothing",
    "test_an_acquisition_that_comes_last_is_found",
    "test_one_device_in_two_maps_contradicts_itself",
    "test_silence_needs_a_logged_checkpoint_that_names_custody_after_the_deadline",
    "test_what_was_erased_takes_no_verdict_back",
]


@pytest.fixture
def room(tmp_path: Path, fleet: Fleet, postgres: Postgres) -> Iterator[Beside]:
    fleets = [fleet, Fleet("borealis")]
    made = Beside(tmp_path / "validator", fleets, store=postgres.database())
    yield made
    made.close()
    assert made.computed > 0
    assert made.checked > 0


@pytest.fixture
def world(room: Beside, fleet: Fleet) -> World:
    room.close()
    (room.folder / "profiles" / "bays.toml").write_text(TEXT)
    room.open()
    return World(room, fleet)


def test_neighbours_that_come_in_any_order(world: World) -> None:
    crowd(world, Random(1), 20)
    assert world.findings() == world.expected()


def test_what_is_given_away_is_not_erased_and_an_erased_neighbour_is_not_read(
    world: World, fleet: Fleet
) -> None:
    a, b, c = world.devices
    room = world.room
    assert isinstance(room, Beside)
    world.claim(b, "giver", c, "order-2", [105, 115, 0], [])
    world.deliver()
    world.close()
    world.claim(a, "giver", c, "order-1", [100, 110, 0], [])
    order = Erasure(b.epoch, [[0, 1000]], [CLAIM], "request", None, START_MS)
    signed = erasure.parse(order.sign(fleet.root, fleet.name, b.id))
    room.propose_all()
    with pytest.raises(Problem, match="hold") as refused:
        room.sequencer.privacy.order(signed)
    assert refused.value.reason == "on-hold"
    room.settle()
    world.deliver()
    room.clock.now_ms += 2 * BAYS.deadline_ms
    # Only what came now, so that its neighbour may be erased; both deadlines have passed.
    with room.sequencer.store.write() as connection:
        mine = sa.select(schema.claims.c.party_set).where(schema.claims.c.device == b.id)
        sets = schema.party_sets
        theirs = sets.c.party_set.in_(mine)
        connection.execute(sa.update(sets).where(theirs).values(dirty=False, portion=None))
    while room.sequencer.reconciler.due():
        room.tick()
    room.work()
    room.sequencer.privacy.order(signed)
    room.settle()
    assert [one.others for one in world.newest().values()] == [[], []]


# --- any order -----------------------------------------------------------------------------


class Died(Exception):
    pass


def die(point: str) -> None:
    if point == steps.PROPOSED:
        raise Died


def told(fleet: Fleet) -> list[bytes]:
    """Batches, each of which bears on what came before: a side, a map, a fork."""
    giver, receiver, third = (fleet.device(name) for name in "abc")
    gateway, second = Gateway(fleet), Gateway(fleet, "second")
    batches = []
    for n in range(3):
        handover(giver, receiver, f"order-{n}", sides="g")
    clone = giver.clone()
    for n in range(3):
        handover(giver, receiver, f"order-{n}", sides="r", received_x=9 if n == 1 else None)
    handover(giver, third, "order-0", x=5, sides="g")
    clone.uptime_ms += 500
    handover(clone, receiver, "order-7", x=7, sides="g")
    gateway.take(*giver.segments()[:3])
    batches.append(gateway.batch(devices=[giver, receiver, third]))
    gateway.take(*receiver.segments())
    batches.append(gateway.batch(3))
    gateway.take(giver.segment(3))
    batches.append(gateway.batch(6))
    second.take(clone.segment(3))
    batches.append(second.batch())
    return batches


ACTIONS = st.sampled_from(["send", "tick", "one", "two", "die", "late", "again"])


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, bytes | None]:
    fleet = Fleet("acme")
    single = Room(tmp_path_factory.mktemp("one"), [fleet])
    for batch in told(fleet):
        single.send(batch)
    single.clock.now_ms += 2 * HANDOVER.deadline_ms
    single.settle()
    found = last_findings(single)
    single.close()
    return found


@settings(max_examples=6, deadline=None)
@given(actions=st.lists(ACTIONS, max_size=30))
def test_any_interleaving_signs_what_the_store_says(
    tmp_path_factory: pytest.TempPathFactory,
    cluster: Postgres,
    expected: dict[Any, bytes | None],
    actions: list[str],
) -> None:
    fleet = Fleet("acme")
    batches = told(fleet)
    room = Beside(tmp_path_factory.mktemp("any"), [fleet], store=cluster.database())
    room.workers.append(Worker(room.place, [ReconcileDuty()]))
    sent = 0
    for action in [*actions, *["send"] * len(batches)]:
        if action == "send" and sent < len(batches):
            Room.send(room, batches[sent])
            sent += 1
        elif action == "tick":
            room.tick()
        elif action in {"one", "two"}:
            room.workers[action == "two"].turn()
        elif action == "die":
            steps.on_step(die)
            with pytest.raises(Died) if room.rows("SELECT 1 FROM portions") else nullcontext():
                room.workers[0].turn()
            steps.on_step(None)
        elif action == "late":
            room.clock.now_ms += HANDOVER.deadline_ms // 2
        elif action == "again":
            room.propose_all()
    room.clock.now_ms += 2 * HANDOVER.deadline_ms
    room.settle()
    found = last_findings(room)
    room.close()
    cluster.take_back()
    assert found == expected
