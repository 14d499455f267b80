"""Bodies that must stay, and bodies that go by age."""

from pathlib import Path
from typing import Any

import pytest

from support.devices import Fleet
from support.erasing import CANARY, DECISION, HALF, NOW_S, World
from support.validating import START_MS, Gateway, Room, handover
from tallystick.evidence.errors import TallyError
from tallystick.validator import holds, patience
from tallystick.verify import check, check_evidence

DAY_MS = 86_400_000
RETENTION = '\n[retention]\ndecisions = "30 d"\nclaims = "60 d"\nhalves = "60 d"\n'


@pytest.fixture
def world(room: Room, fleet: Fleet) -> World:
    return World(room, fleet)


# --- holds -------------------------------------------------------------------------------------


HOLD: dict[str, Any] = {
    "fleet": None, "device": None, "namespace": None, "interaction": None,
    "why": "claim 7", "by": "counsel", "since_ms": START_MS,
}  # fmt: skip


def hold(world: World, name: str = "case", **on: Any) -> None:
    with world.room.sequencer.store.write() as connection:
        holds.put(connection, name, HOLD | on)


@pytest.mark.parametrize("what", ["fleet", "device", "namespace", "interaction", "copy"])
def test_a_hold_stops_an_order_whole(world: World, what: str) -> None:
    ((interaction,),) = world.room.rows("SELECT interaction FROM party_sets")
    on: dict[str, dict[str, Any]] = {
        "fleet": {"fleet": "acme"},
        "device": {"device": world.giver.id},
        "namespace": {"namespace": "dock-3"},
        "interaction": {"namespace": "dock-3", "interaction": interaction},
        # The giver's claim lies in the receiver's log too, and that is held.
        "copy": {"device": world.receiver.id},
    }
    hold(world, **on[what])
    with pytest.raises(TallyError) as refused:
        world.erase()
    assert refused.value.reason == "on-hold"
    assert world.room.rows("SELECT count(*) FROM erasures") == [(0,)]
    with world.room.sequencer.store.write() as connection:
        holds.lift(connection, "case")
    assert world.erase().bodies == 5


def test_a_hold_on_an_interaction_holds_accepted_halves_too(world: World) -> None:
    hold(world, namespace="dock-3")
    with pytest.raises(TallyError) as refused:
        world.erase(world.receiver, epoch=world.receiver.epoch, kinds=[HALF])
    assert refused.value.reason == "on-hold"
    # Decisions are no part of it.
    assert world.erase(kinds=[DECISION]).bodies == 4


# --- by age ------------------------------------------------------------------------------------


@pytest.fixture
def aging(tmp_path: Path, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(patience, "RETENTION_PATIENCE_S", 0.0)
    made = Room(tmp_path / "validator", [fleet], settings={"tables": RETENTION})
    yield World(made, fleet)
    made.close()


def tick(world: World, days: int, minutes: int = 0) -> None:
    world.room.clock.now_ms = START_MS + days * DAY_MS + minutes * 60_000
    while world.room.sequencer.privacy.tick():
        pass
    world.room.settle()


def bodies(world: World) -> tuple[int, int]:
    ((held,),) = world.room.rows("SELECT sum(records) FROM stretches")
    ((claims,),) = world.room.rows("SELECT count(*) FROM claims WHERE length(record) > 0")
    return held, claims


def test_bodies_go_by_kind_and_age(aging: World) -> None:
    assert bodies(aging) == (9, 2)
    tick(aging, 29)
    assert bodies(aging) == (9, 2)
    tick(aging, 31)
    assert bodies(aging) == (5, 2)
    assert aging.room.rows("SELECT kinds FROM erasures") == [(1 << DECISION,)]
    tick(aging, 61)
    # The epochs' first events are kept.
    assert bodies(aging) == (2, 0)
    assert CANARY.encode() not in aging.on_disk()
    report = check_evidence(aging.file(), aging.policy(), NOW_S)
    assert {why for what, why in report.not_checked if what.startswith("what record")} == {
        "its body was erased by the retention of validator notary"
    }
    check(aging.file(), aging.policy(recomputed=False), NOW_S)
    size = aging.room.rows("SELECT count(*) FROM entries")
    tick(aging, 63)
    tick(aging, 65)
    assert aging.room.rows("SELECT count(*) FROM entries") == size


def test_a_hold_stops_retention_until_it_is_lifted(aging: World) -> None:
    from tallystick.validator.privacy import look_again

    hold(aging, namespace="dock-3")
    hold(aging, "other", device=aging.giver.id)
    tick(aging, 61)
    assert bodies(aging) == (9, 2)
    with aging.room.sequencer.store.write() as connection:
        holds.lift(connection, "other")
        look_again(connection)
    tick(aging, 61, 2)
    # Decisions went; what was claimed in dock-3, and the half of it, is held.
    assert bodies(aging) == (5, 2)
    with aging.room.sequencer.store.write() as connection:
        holds.lift(connection, "case")
        look_again(connection)
    tick(aging, 61, 4)
    assert bodies(aging) == (2, 0)


def test_a_clock_that_leaps_is_waited_out(aging: World, monkeypatch: pytest.MonkeyPatch) -> None:
    steady = [1_000.0]
    monkeypatch.setattr(patience, "steady", lambda: steady[0])
    monkeypatch.setattr(patience, "RETENTION_PATIENCE_S", 7_200.0)
    privacy = aging.room.sequencer.privacy
    privacy.start()
    tick(aging, 0)
    # A year ahead for an hour, then set right: nothing is gone.
    tick(aging, 365)
    steady[0] += 3_600
    tick(aging, 365)
    assert bodies(aging) == (9, 2)
    steady[0] += 3_600
    tick(aging, 0)
    assert bodies(aging) == (9, 2)
    # So too for a program that was off: at its start no time has passed.
    aging.room.close()
    aging.room.clock.now_ms = START_MS + 365 * DAY_MS
    aging.room.open()
    tick(aging, 365)
    assert bodies(aging) == (9, 2)
    # What is still so after two hours is so.
    steady[0] += 7_201
    tick(aging, 365)
    assert bodies(aging) == (2, 0)


def test_claims_of_a_set_that_is_open_are_not_erased(tmp_path: Path, fleet: Fleet) -> None:
    tables = '\n[retention]\nclaims = "1 s"\n'
    room = Room(tmp_path / "validator", [fleet], settings={"tables": tables})
    try:
        giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
        handover(giver, receiver, "order-1", sides="g")
        gateway.take(*giver.segments())
        room.send(gateway.batch(devices=[giver, receiver]))
        room.settle()
        room.clock.now_ms += 30_000
        while room.sequencer.privacy.tick():
            pass
        assert room.rows("SELECT count(*) FROM claims WHERE length(record) > 0") == [(1,)]
    finally:
        room.close()
