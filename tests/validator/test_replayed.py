"""A03: old segments and batches again, on any topic, by any gateway, at any validator."""

from pathlib import Path

import pytest

from support.devices import Device, Fleet
from support.gateways import MemoryGateway
from support.validating import Gateway, Room, handover
from tallystick.evidence import checkpoint
from tallystick.evidence.batchanswer import BatchAnswer
from tallystick.evidence.kinds import CHECKPOINT, LOGGED_CLAIM

pytestmark = pytest.mark.databases


def robots(fleet: Fleet) -> tuple[Device, Device]:
    giver, receiver = fleet.device("a"), fleet.device("b")
    giver.record(3)
    handover(giver, receiver, "order-1")
    giver.record(2)
    return giver, receiver


def heads_of(answer: BatchAnswer, *devices: Device) -> dict[bytes, bytes]:
    """The receipts for these devices' checkpoints."""
    digests = {
        checkpoint.parse(s.checkpoint).digest for device in devices for s in device.stretches
    }
    return {digest: data for digest, data in answer.receipts if digest in digests}


def held(room: Room) -> dict[str, list[tuple[object, ...]]]:
    """All that a validator has of devices, but for when it last heard of them."""
    return {
        "entries": room.rows(
            f"SELECT data FROM entries WHERE kind IN ({CHECKPOINT}, {LOGGED_CLAIM}) ORDER BY entry"
        ),
        "claims": room.rows("SELECT count(*), count(DISTINCT claim) FROM claims"),
        "counts": room.rows("SELECT sum(decisions), sum(claims), sum(events) FROM identities"),
        "verdicts": room.rows("SELECT digest FROM verdicts ORDER BY entry"),
        "leaves": room.rows("SELECT device, epoch, size, covered FROM logs ORDER BY log"),
    }


def test_at_a_validator(room: Room, fleet: Fleet) -> None:
    giver, receiver = robots(fleet)
    first, other = Gateway(fleet, "first"), Gateway(fleet, "other")
    first.take(*giver.segments(), *receiver.segments())
    batch = first.batch(devices=[giver, receiver])
    answer = room.send(batch)
    room.settle()
    before, size = held(room), room.sequencer.log.tree.size
    assert room.states() == {"matched": 1}
    # The very same, whoever hands it in: no entry at all, and the same answer to the byte.
    assert room.send(batch) == answer
    assert room.sequencer.log.tree.size == size
    # In another order, in other pieces, twice, by the same gateway and by another one.
    first.take(giver.segment(0, 3), receiver.segment(), giver.segment(1, 2), giver.segment(1, 2))
    again = room.send(first.batch(len(giver.segments()) + len(receiver.segments())))
    other.take(*receiver.segments(), *giver.segments()[::-1], giver.segment(0, 2))
    elsewhere = room.send(other.batch(devices=[giver, receiver]))
    room.settle()
    assert (again.refused, elsewhere.refused) == ([], [])
    assert held(room) == before
    expected = heads_of(answer, giver, receiver)
    for one in (again, elsewhere):
        # A segment of several stretches gets a receipt for the last one.
        assert heads_of(one, giver, receiver).items() <= expected.items()
    assert len(heads_of(elsewhere, giver, receiver)) == len(expected)
    # What came with them is nothing of the devices'.
    kinds = {row[0] for row in room.rows(f"SELECT kind FROM entries WHERE entry >= {size}")}
    assert not kinds & {CHECKPOINT, LOGGED_CLAIM}, kinds
    # After a restart, and when the devices went on.
    room.close()
    room.open()
    giver.record(1)
    other.take(giver.segment(3))
    assert room.send(other.batch(len(other.items) - 1)).refused == []
    assert heads_of(room.send(batch), giver, receiver).items() >= expected.items()
    assert room.sequencer.log.tree.size > size
    assert room.send(batch).size == answer.size


def test_at_a_gateway_and_on_another_topic(tmp_path: Path, fleet: Fleet) -> None:
    giver, receiver = robots(fleet)
    gate, other = (MemoryGateway(tmp_path / name, fleet, name=name) for name in ("one", "two"))
    for gateway in (gate, other):
        gateway.know(giver, receiver)
        gateway.give(giver, *giver.segments())
    ranges, receipt = gate.ranges(), gate.custody(giver)[-1].encode()
    gate.link.down.clear()
    # On its own topic: the same receipt. On another's: refused, and nobody gets anything.
    gate.give(giver, *giver.segments()[::-1])
    assert {data for to, data in gate.link.down if to == giver.id} == {receipt}
    gate.link.down.clear()
    for data in giver.segments():
        gate.send(receiver, data)
        gate.send(giver, data, topic="tallystick/1/somebody/up")
    gate.turn()
    assert gate.refused() == {"replayed": 3, "wrong-topic": 3, "wrong-device": 3}
    assert [to for to, data in gate.link.down if data[0] == 0xD2] == []
    assert gate.ranges() == ranges
    # At another gateway the second time is as at the first.
    ranges = other.ranges()
    other.give(giver, *giver.segments(), *giver.segments())
    assert other.ranges() == ranges
    # And one that was started again knows them.
    gate.reopen()
    gate.give(giver, *giver.segments())
    assert gate.custody(giver)[-1].encode() == receipt
    assert len(gate.ranges()) == len(giver.stretches)
    gate.store.close()
    other.store.close()
