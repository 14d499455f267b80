"""What was erased stays so, whatever comes again, in any order; what only hashes tell."""

import os
import random
from typing import Any

import pytest

from support.devices import Device, Fleet
from support.erasing import (
    CANARY,
    CLAIM,
    DECISION,
    EVENT,
    NOW_S,
    World,
    handed,
    on_disk,
    salt_at,
)
from support.validating import HANDOVER, START_MS, Gateway, Room, handover
from tallystick.evidence import checkpoint, erasure, segment
from tallystick.evidence.erasure import Erasure
from tallystick.evidence.errors import TallyError
from tallystick.evidence.ids import claim_reference
from tallystick.evidence.segment import Segment
from tallystick.validator import erasing
from tallystick.validator.elide import without
from tallystick.validator.evidence import Exporter
from tallystick.verify import check, check_evidence


@pytest.fixture
def world(room: Room, fleet: Fleet) -> World:
    return World(room, fleet)


def test_a_store_from_before_copies_were_noted_is_looked_through(world: World) -> None:
    with world.room.sequencer.store.write() as connection:
        connection.exec_driver_sql("DELETE FROM copies")
        connection.exec_driver_sql("DELETE FROM meta WHERE name = 'copies-indexed'")
    world.room.close()
    world.room.open()
    assert world.room.rows("SELECT count(*) FROM copies") == [(1,)]
    world.erase()
    world.erase(world.receiver, epoch=world.receiver.epoch, kinds=[CLAIM])
    assert CANARY.encode() not in world.on_disk()


def test_both_branches_of_a_fork_are_erased(world: World) -> None:
    clone = Device(world.fleet, world.giver.signer, world.giver.credential)
    clone.decision(action="another story of " + CANARY)
    clone.decisions(5)
    handed(clone, world.fleet.device("d"), "order-2")
    other = Gateway(world.fleet, "another")
    other.take(*clone.segments())
    refused = world.room.send(other.batch(devices=[clone])).refused
    assert [reason for _, reason in refused] == ["fork"]
    ((kept,),) = world.room.rows("SELECT count(*) FROM forks WHERE segment IS NOT NULL")
    assert kept == 1
    assert b"another story of" in world.on_disk()
    world.room.clock.now_ms += HANDOVER.deadline_ms + 1
    world.room.settle()
    world.erase(kinds=[DECISION, CLAIM])
    assert b"another story of" not in world.on_disk()
    # What comes of that branch again is taken as its hashes too.
    third = Gateway(world.fleet, "third")
    third.take(*clone.segments())
    world.room.send(third.batch(devices=[clone]))
    world.erase(world.receiver, epoch=world.receiver.epoch, kinds=[CLAIM])
    assert CANARY.encode() not in world.on_disk()
    assert world.room.rows("SELECT count(*) FROM forks WHERE proof IS NOT NULL") == [(1,)]


def test_a_branch_that_comes_after_the_erasure_is_taken_as_its_hashes(world: World) -> None:
    world.erase(kinds=[DECISION, CLAIM])
    world.erase(world.receiver, epoch=world.receiver.epoch, kinds=[CLAIM])
    clone = Device(world.fleet, world.giver.signer, world.giver.credential)
    clone.decision(action="another story of " + CANARY)
    handed(clone, world.fleet.device("d"), "order-2")
    other = Gateway(world.fleet, "another")
    other.take(*clone.segments())
    refused = world.room.send(other.batch(devices=[clone])).refused
    assert {reason for _, reason in refused} == {"fork"}
    assert CANARY.encode() not in world.on_disk()


def test_an_order_over_too_many_stretches_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "ERASED_STRETCHES_PER_ORDER_MAX", 0)
    with pytest.raises(TallyError) as refused:
        world.erase()
    assert refused.value.reason == "too-large"


def test_an_erasure_survives_a_restart(world: World) -> None:
    world.erase()
    world.room.close()
    world.room.open()
    world.room.sequencer.privacy.scrub()
    other = Gateway(world.fleet, "another")
    other.take(*world.giver.segments())
    world.room.send(other.batch(devices=[world.giver]))
    world.erase(world.receiver, epoch=world.receiver.epoch, kinds=[CLAIM])
    assert CANARY.encode() not in world.on_disk()


def test_a_claim_that_no_verdict_has_read_is_not_erased(room: Room, fleet: Fleet) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)

    def erase() -> Any:
        ranges = [[0, giver.size]]
        made = Erasure(giver.epoch, ranges, [CLAIM], "request", None, START_MS)
        data = made.sign(fleet.root, fleet.name, giver.id)
        return room.sequencer.privacy.order(erasure.parse(data))

    handover(giver, receiver, "order-1", sides="g")
    gateway.take(*giver.segments())
    room.send(gateway.batch(devices=[giver, receiver]))
    room.settle()
    with pytest.raises(TallyError) as refused:
        erase()
    assert refused.value.reason == "on-hold"
    room.clock.now_ms += HANDOVER.deadline_ms + 1
    room.settle()
    # Closed, and judged; then it says something else, and that is not judged yet.
    handover(giver, receiver, "order-1", x=7, sides="g")
    gateway.take(giver.segments()[-1])
    room.send(gateway.batch(1))
    with pytest.raises(TallyError) as refused:
        erase()
    assert refused.value.reason == "on-hold"
    room.settle()
    assert erase().bodies == 2
    states = [row[0] for row in room.rows("SELECT state FROM verdicts ORDER BY entry")]
    assert states == ["one_sided", "conflicting"]


@pytest.mark.parametrize("seed", range(int(os.environ.get("TALLY_PRIVACY_SEEDS", "4"))))
def test_in_any_order_what_was_erased_is_gone_and_all_else_stays(
    room: Room, fleet: Fleet, seed: int
) -> None:
    """Records, erasures and deliveries with other redactions, in any order and twice."""
    choose = random.Random(seed)
    device = fleet.device("a")
    words: dict[int, str] = {}
    for _ in range(choose.randint(2, 4)):
        for _ in range(choose.randint(1, 6)):
            index = device.size + len(device.pending) + (not device.size and not device.pending)
            words[index] = f"word-{index}-{choose.random()}"
            if choose.random() < 0.4:
                device.event("robot.said", word=words[index])
            else:
                device.decision(action=words[index])
        device.seal()
    kinds = {
        at: record[1]
        for stretch in device.stretches
        for at, record in enumerate(stretch.records, stretch.first)
    }
    gone: set[int] = set()
    sent: set[int] = set()
    known: set[int] = set()
    todo = [choose.randrange(len(device.stretches)) for _ in range(8)]
    todo += [*range(len(device.stretches)), *[-1] * 4]
    first, *rest = todo
    choose.shuffle(rest)
    for step in [*range(len(device.stretches)), first, *rest] if seed % 2 else [0, first, *rest]:
        if step < 0:
            low = choose.randrange(device.size)
            high = choose.randint(low + 1, device.size)
            wanted = choose.choice(([DECISION], [EVENT], [DECISION, EVENT]))
            made = Erasure(device.epoch, [[low, high]], wanted, "request", None, START_MS)
            data = made.sign(fleet.root, fleet.name, device.id)
            room.sequencer.privacy.order(erasure.parse(data))
            gone |= {at for at in range(low, high) if kinds[at] in wanted}
            continue
        stretch = device.stretches[step]
        hidden = {at for at in range(stretch.first, stretch.to) if choose.random() < 0.3}
        if step and step - 1 not in known:
            continue  # a gateway does not begin in the middle
        gateway = Gateway(fleet, f"gateway-{choose.random()}")
        gateway.take(redacted(device, step, hidden))
        assert room.send(gateway.batch(devices=[device])).refused == []
        known.add(step)
        taken = set(range(stretch.first, stretch.to)) - hidden - gone
        sent |= taken
    data = on_disk(room)
    for at, word in words.items():
        assert (word.encode() in data) == (at in sent - gone), (at, word)
    for at in gone:
        assert salt_at(device, at) not in data
    config = room.sequencer.config
    exporter = Exporter(config.roots, room.sequencer.profiles, config.credential)
    with room.sequencer.store.read() as connection:
        for at in sorted((sent - gone) & words.keys()):
            exporter.record(connection, device.id, device.epoch, at)


def redacted(device: Device, nth: int, hidden: set[int]) -> bytes:
    """One stretch as a segment, some bodies not in it; with salts, or with the seed."""
    sealed = device.stretches[nth]
    whole = segment.parse(device.segment(nth, nth + 1))
    stretch = without(whole.stretches[0], hidden)
    if stretch.secret is not None and len(hidden) % 2:
        stretch.secret = sealed.seed
    return Segment(whole.device, whole.epoch, whole.first, whole.edge, [stretch]).encode()


def test_with_hashes_only_the_log_around_a_record_is_verified(room: Room, fleet: Fleet) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    parties = {"giver": [giver.id], "receiver": [receiver.id]}
    fields: dict[str, Any] = {"item": "box", "position_m": [1, 2]}
    giver.claim("order-1", "giver", "released", parties, HANDOVER.digest, **fields)
    giver.seal()
    relied = claim_reference(giver.id, giver.epoch, 1, giver.leaves[1])
    receiver.claim(
        "order-1", "receiver", "acquired", parties, HANDOVER.digest, relied=[relied], **fields
    )
    receiver.seal()
    gateway.take(giver.segment(elide=True), receiver.segment())
    answer = room.send(gateway.batch(devices=[giver, receiver]))
    # Both heads are receipted: the giver's leaves fold to the root that it signed.
    heads = {checkpoint.parse(d.stretches[-1].checkpoint).digest for d in (giver, receiver)}
    assert heads <= {digest for digest, _ in answer.receipts}
    room.settle()
    world = World.__new__(World)
    world.room, world.fleet = room, fleet
    assert world.states() == ["insufficient"]
    report = check_evidence(world.file(), world.policy(), NOW_S)
    (checked,) = report.party_sets
    assert [said.verdict.finding.state for said in checked.said] == ["insufficient"]
    # One bit of a hash is another log.
    wrong = segment.parse(giver.segment(elide=True))
    level, node = wrong.stretches[0].items[1]
    wrong.stretches[0].items[1] = (int(level), bytes([bytes(node)[0] ^ 1]) + bytes(node)[1:])
    other = Gateway(fleet, "another")
    made = Segment(wrong.device, wrong.epoch, 0, None, wrong.stretches)
    other.take(made.encode())
    assert [reason for _, reason in room.send(other.batch()).refused] == ["bad-root"]
    # The body comes later: a new verdict, and the old one stays in the log.
    third = Gateway(fleet, "third")
    third.take(giver.segment())
    assert room.send(third.batch()).refused == []
    room.settle()
    assert world.states() == ["insufficient", "matched"]
    check(world.file(), world.policy(), NOW_S)
