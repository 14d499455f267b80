"""A thief's branch that was heard first: the device's own goes on once the key is settled."""

import pytest
import sqlalchemy as sa

from support.devices import Device, Fleet, key
from support.keychanges import head_of, revoke, rotate
from support.story import disclose
from support.validating import Gateway, Room, handover
from tallystick.evidence.keychange import COMPROMISED
from tallystick.validator import schema
from validator.test_keychanges import publish, sent


def one_by_one(room: Room, gateway: Gateway, device: Device) -> list[tuple[int, str]]:
    """A batch for each segment, as they come on a slow day."""
    refused = []
    for data in device.segments():
        at = len(gateway.items)
        gateway.take(data)
        refused += sent(room, gateway, at)
    return refused


def whole(room: Room, device: Device) -> bool:
    """Whether all of its only epoch is held."""
    logs, stretches = schema.logs, schema.stretches
    with room.sequencer.store.read() as connection:
        query = sa.select(logs.c.log, logs.c.size).where(logs.c.device == device.id)
        log, size = connection.execute(query).one()
        rows = connection.execute(
            sa.select(stretches.c.first, stretches.c.to)
            .where(stretches.c.log == log)
            .order_by(stretches.c.first)
        ).all()
    ends = [0, *(row.to for row in rows)]
    return [row.first for row in rows] == ends[:-1] and ends[-1] == size == device.size


@pytest.mark.databases
def test_an_accepted_half_in_both_branches_at_one_index(room: Room, fleet: Fleet) -> None:
    giver, receiver = fleet.device("a"), fleet.device("b")
    gateway, rogue = Gateway(fleet), Gateway(fleet, "rogue")
    handover(giver, receiver, "order-1")
    last = receiver.stretches[-1]
    at = last.first + next(n for n, data in enumerate(last.records) if data[1:2] == b"\x01")
    half = disclose(receiver, at, embed=True).encode()
    thief = giver.clone()
    thief.accept(half)
    thief.seal()
    thief.record(2)
    rogue.take(*thief.segments())
    assert sent(room, rogue, 0, thief) == []
    assert room.rows("SELECT at FROM copies") == [(thief.size - 3,)]
    renewed = rotate(giver, key("second key of a"))
    renewed.accept(half)
    renewed.seal(bytes(range(32)))
    gateway.take(*renewed.segments(), *receiver.segments())
    assert sent(room, gateway, 0, renewed, receiver) == []
    assert whole(room, renewed)
    # Where the copy lies is known once, and no place is named at which there is none.
    assert len(room.rows("SELECT at FROM copies")) == 1


@pytest.mark.databases
def test_copies_of_what_is_cut_off_are_known_no_more(room: Room, fleet: Fleet) -> None:
    giver, receiver = fleet.device("a"), fleet.device("b")
    gateway, rogue = Gateway(fleet), Gateway(fleet, "rogue")
    handover(giver, receiver, "order-1")
    last = receiver.stretches[-1]
    at = last.first + next(n for n, data in enumerate(last.records) if data[1:2] == b"\x01")
    thief = giver.clone()
    thief.accept(disclose(receiver, at, embed=True).encode())
    thief.seal()
    rogue.take(*thief.segments())
    assert sent(room, rogue, 0, thief) == []
    assert len(room.rows("SELECT at FROM copies")) == 1
    renewed = rotate(giver, key("second key of a"))
    renewed.record(2)
    gateway.take(*renewed.segments())
    assert sent(room, gateway, 0, renewed) == []
    assert whole(room, renewed)
    assert room.rows("SELECT at FROM copies") == []


def test_copies_in_a_branch_that_is_kept_stay_known(room: Room, fleet: Fleet) -> None:
    giver, receiver = fleet.device("a"), fleet.device("b")
    gateway, rogue = Gateway(fleet), Gateway(fleet, "rogue")
    handover(giver, receiver, "order-1")
    last = receiver.stretches[-1]
    at = last.first + next(n for n, data in enumerate(last.records) if data[1:2] == b"\x01")
    thief, other = giver.clone(), giver.clone()
    thief.record(3)
    rogue.take(*thief.segments())
    assert sent(room, rogue, 0, thief) == []
    renewed = rotate(giver, key("second key of a"))
    publish(room, renewed.credential)
    other.accept(disclose(receiver, at, embed=True).encode())
    other.seal()
    before = len(rogue.items)
    rogue.take(*other.segments()[-1:])
    assert [why for _, why in sent(room, rogue, before)] == ["revoked"]
    assert len(room.rows("SELECT at FROM copies")) == 1
    assert room.rows("SELECT count(*) FROM stretches WHERE log = 1") == [(2,)]
    renewed.decision("mine")
    renewed.seal()
    gateway.take(*renewed.segments())
    assert sent(room, gateway, 0, renewed) == []
    assert whole(room, renewed)
    # Else whoever erases the claim would leave its copy there.
    assert len(room.rows("SELECT at FROM copies")) == 1


@pytest.mark.databases
@pytest.mark.parametrize("heard", [False, True])
def test_a_half_came_before_the_devices_own_branch(room: Room, fleet: Fleet, heard: bool) -> None:
    """heard: the device's own segments come before the fleet root settles it, too."""
    giver, receiver = fleet.device("a"), fleet.device("b")
    gateway, rogue = Gateway(fleet), Gateway(fleet, "rogue")
    giver.record(3)
    thief = giver.clone()
    handover(giver, receiver, "order-1", sides="g")
    receiver.accept(disclose(giver, giver.size - 1, embed=True).encode())
    receiver.seal()
    thief.decision("let go")
    thief.record(9)
    gateway.take(*receiver.segments())
    assert sent(room, gateway, 0, giver, receiver) == []
    first, ended = giver.signer.public_key().thumbprint(), head_of(giver)
    rogue.take(*thief.segments())
    sent(room, rogue, 0, giver)
    assert ("fork",) in room.rows("SELECT suspect FROM identities")
    if heard:
        # Not answered as if it were kept: its gateway sets it aside and sends it again.
        refused = one_by_one(room, gateway, giver)
        assert refused and {why for _, why in refused} <= {"fork", "no-history"}, refused
    renewed = rotate(giver, key("second key of a"))
    publish(room, revoke(renewed, COMPROMISED, ended, key=first))
    assert ("fork",) not in room.rows("SELECT suspect FROM identities")
    renewed.record(2)
    assert one_by_one(room, gateway, renewed) == []
    assert whole(room, renewed)
    assert one_by_one(room, gateway, renewed) == []
