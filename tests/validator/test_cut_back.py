"""A log cut back to where its key ended: whoever relied on what goes is judged anew."""

import pytest
import sqlalchemy as sa

from support.devices import Fleet, key
from support.keychanges import rotate
from support.validating import HANDOVER, Gateway, Room, handover
from tallystick.evidence.ids import claim_reference
from tallystick.validator import schema
from tallystick.validator.basis import Basis
from tallystick.validator.reconcileduty import Under
from validator.test_keychanges import publish, sent


def differ(room: Room) -> list[int]:
    """Party sets whose signed finding is not what the store comes to now."""
    under = Under(Basis(room.sequencer.config.roots, room.sequencer.profiles))
    with room.sequencer.store.read() as connection:
        every = sa.select(schema.party_sets)
        found = under.compute(connection, every, room.sequencer.log.now_ms())
    states = {
        row[0]: row[1:] for row in room.rows("SELECT party_set, state, finding FROM party_sets")
    }
    wrong = []
    for number, computed in found.items():
        assert computed.found is not None
        state, finding = states[number]
        same = computed.found.data is None or computed.found.digest() == finding
        if computed.found.state != state or not same:
            wrong.append(number)
    return wrong


@pytest.mark.databases
def test_who_relied_on_a_leaf_that_is_cut_off_is_judged_anew(room: Room, fleet: Fleet) -> None:
    giver, receiver = fleet.device("a"), fleet.device("b")
    gateway, rogue = Gateway(fleet), Gateway(fleet, "rogue")
    handover(giver, receiver, "order-1")
    # With a copy of the key a thief writes on, and its gateway sends hashes of it only.
    thief = giver.clone()
    handover(thief, receiver, "order-9", sides="g")
    last = thief.stretches[-1]
    at = last.first + next(n for n, data in enumerate(last.records) if data[1:2] == b"\x01")
    parties = {"giver": [giver.id], "receiver": [receiver.id]}
    receiver.claim(
        "order-9",
        "receiver",
        "acquired",
        parties,
        HANDOVER.digest,
        relied=[claim_reference(giver.id, giver.epoch, at, thief.leaves[at])],
        item="box",
        position_m=[1, 2],
    )
    receiver.seal()
    number = len(thief.stretches) - 1
    rogue.take(*thief.segments()[:-1], thief.segment(number, elide=True))
    sent(room, rogue, 0, thief)
    gateway.take(*receiver.segments())
    sent(room, gateway, 0, receiver)
    renewed = rotate(giver, key("second key of a"))
    handover(renewed, receiver, "order-2")
    publish(room, renewed.credential)
    room.settle()
    assert room.rows("SELECT count(*) FROM bodiless") == [(1,)]
    assert differ(room) == []
    # The new key goes on where its credential says; what the old one wrote beyond is cut off.
    before = len(gateway.items)
    gateway.take(*renewed.segments())
    sent(room, gateway, before, renewed)
    room.settle()
    assert room.rows("SELECT count(*) FROM bodiless") == [(0,)]
    assert differ(room) == []
    # And its deadline still ends it.
    room.clock.now_ms += 3 * HANDOVER.deadline_ms
    room.settle()
    assert differ(room) == []
    assert "pending" not in {row[0] for row in room.rows("SELECT state FROM party_sets")}
