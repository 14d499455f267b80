"""Bodies that go on a fleet's order: from every place, for good, and what evidence says then."""

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from support.devices import Fleet
from support.erasing import CANARY, CLAIM, DECISION, HALF, NOW_S, World, on_disk, salt_at
from support.story import disclose
from support.validating import START_MS, Gateway, Room, handover
from tallystick.evidence import cose, erasure, evidencefile
from tallystick.evidence.erasure import Erasure
from tallystick.evidence.errors import TallyError
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.kinds import ERASURE
from tallystick.validator import erased, schema
from tallystick.validator.evidence import Exporter
from tallystick.validator.work import Work
from tallystick.verify import check, check_evidence, load_evidence
from tallystick.verify._erasures import Erased


@pytest.fixture
def world(room: Room, fleet: Fleet) -> World:
    return World(room, fleet)


# --- on a fleet's order ------------------------------------------------------------------------


@pytest.mark.databases
def test_what_was_erased_is_nowhere_on_the_disk(world: World) -> None:
    before = world.on_disk()
    seed = world.giver.stretches[0].seed
    assert CANARY.encode() in before
    assert seed in before
    done = world.erase()
    assert done.bodies == 5
    done = world.erase(world.receiver, epoch=world.receiver.epoch, kinds=[CLAIM, HALF])
    # The accepted half went with the giver's claim; what is left is the receiver's own.
    assert done.bodies == 1
    after = world.on_disk()
    assert CANARY.encode() not in after
    assert seed not in after
    for index in range(1, 6):
        assert salt_at(world.giver, index) not in after
    # The event at 0 stays, with its own salt; so does what is public.
    assert salt_at(world.giver, 0) in after
    assert world.giver.leaves[1] in after
    assert world.states() == ["matched"]


def test_an_order_is_idempotent_and_logged(world: World) -> None:
    first = world.erase()
    again = world.erase()
    assert (again.entry, again.digest, again.bodies) == (first.entry, first.digest, 0)
    ((data,),) = world.room.rows(f"SELECT data FROM entries WHERE entry = {first.entry}")
    assert erasure.parse(data).verify(world.fleet.root.public_key()).covers(1, DECISION)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"signer": Fleet("borealis")}, "not-enrolled"),
        ({"signer": Fleet("nobody")}, "wrong-key"),
        ({"validator": b"x" * 32}, "wrong-device"),
        ({"cause": "retention", "validator": b"x" * 32}, "wrong-key"),
    ],
)
def test_only_the_devices_own_fleet_orders(
    world: World, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TallyError) as refused:
        world.erase(**changes)
    assert refused.value.reason == reason
    assert CANARY.encode() in world.on_disk()


def test_a_forged_order_is_refused(world: World) -> None:
    data = bytearray(world.order().encode())
    data[-1] ^= 1
    with pytest.raises(TallyError) as refused:
        world.room.sequencer.privacy.order(erasure.parse(bytes(data)))
    assert refused.value.reason == "bad-signature"
    with pytest.raises(TallyError) as refused:
        world.erase(world.fleet.device("unknown"))
    assert refused.value.reason == "unknown-device"


@pytest.mark.databases
def test_an_erased_body_that_is_sent_again_is_taken_as_its_hash(world: World) -> None:
    world.erase()
    other = Gateway(world.fleet, "another")
    other.take(*world.giver.segments(), *world.receiver.segments())
    answer = world.room.send(other.batch(devices=[world.giver, world.receiver]))
    assert answer.refused == []
    world.room.settle()
    assert world.states() == ["matched"]
    # The receiver's own claim is as it was; of the giver nothing has come back.
    (claims,) = world.room.rows(
        "SELECT count(*), count(*) FILTER (WHERE length(record) = 0) FROM claims"
    )
    assert claims == (2, 1)
    world.erase(world.receiver, epoch=world.receiver.epoch, kinds=[CLAIM])
    assert CANARY.encode() not in world.on_disk()
    assert world.giver.stretches[0].seed not in world.on_disk()


def test_a_half_of_an_erased_claim_that_comes_later_is_not_kept(world: World) -> None:
    world.erase()
    third = world.fleet.device("c")
    third.accept(disclose(world.giver, 5, embed=True).encode())
    third.seal()
    other = Gateway(world.fleet, "another")
    other.take(*third.segments())
    assert world.room.send(other.batch(devices=[third])).refused == []
    world.erase(world.receiver, epoch=world.receiver.epoch, kinds=[CLAIM])
    assert CANARY.encode() not in world.on_disk()


def test_records_before_they_arrive_are_never_taken(room: Room, fleet: Fleet) -> None:
    giver, gateway = fleet.device("a"), Gateway(fleet)
    giver.decision(action="early")
    giver.seal()
    gateway.take(*giver.segments())
    room.send(gateway.batch(devices=[giver]))
    made = Erasure(giver.epoch, [[0, 99]], [DECISION], "request", None, START_MS)
    room.sequencer.privacy.order(erasure.parse(made.sign(fleet.root, fleet.name, giver.id)))
    giver.decision(action=CANARY)
    giver.seal()
    gateway.take(giver.segments()[-1])
    assert room.send(gateway.batch(1)).refused == []
    data = on_disk(room)
    assert CANARY.encode() not in data
    assert room.rows("SELECT covered, size FROM logs") == [(3, 3)]


def test_a_verdict_is_not_lost_because_a_party_has_its_claims_erased(
    room: Room, fleet: Fleet
) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    handover(giver, receiver, "order-1", x=1, received_x=9)
    gateway.take(*giver.segments(), *receiver.segments())
    room.send(gateway.batch(devices=[giver, receiver]))
    room.settle()
    made = Erasure(giver.epoch, [[0, giver.size]], [CLAIM], "request", None, START_MS)
    room.sequencer.privacy.order(erasure.parse(made.sign(fleet.root, fleet.name, giver.id)))
    # The other says the same again: the finding is due, and cannot be made any more.
    handover(giver, receiver, "order-1", received_x=9, sides="r")
    gateway.take(receiver.segments()[-1])
    room.send(gateway.batch(2))
    room.settle()
    assert room.rows("SELECT count(*) FROM claims") == [(3,)]
    assert [row[0] for row in room.rows("SELECT state FROM verdicts")] == ["conflicting"]
    assert room.states() == {"conflicting": 1}
    # It says something else in its place, as if it had never said the first: nothing is found anew.
    handover(giver, receiver, "order-1", x=9, sides="g")
    gateway.take(giver.segments()[-1])
    room.send(gateway.batch(3))
    room.settle()
    assert room.rows("SELECT count(*) FROM claims") == [(4,)]
    assert [row[0] for row in room.rows("SELECT state FROM verdicts")] == ["conflicting"]
    assert room.states() == {"conflicting": 1}


# --- evidence afterwards -----------------------------------------------------------------------


def test_evidence_made_after_an_erasure_verifies_and_says_what_went(world: World) -> None:
    check(world.file(), world.policy(), NOW_S)
    world.erase()
    world.erase(world.receiver, epoch=world.receiver.epoch, kinds=[CLAIM, HALF])
    file = world.file()
    assert CANARY.encode() not in file.encode()
    assert file.halves == []
    assert "2 records are not disclosed: erased" in (file.note or "")
    report = check_evidence(file, world.policy(), NOW_S)
    gone = [record.body for record in report.records]
    assert [isinstance(body, Erased) for body in gone] == [True, True]
    left = [why for what, why in report.not_checked if what.startswith("what record")]
    assert left == ["its body was erased on the order of fleet acme"] * 2
    # What cannot be recomputed is no recomputed verdict; a policy may do with a logged one.
    with pytest.raises(TallyError) as refused:
        check(file, world.policy(), NOW_S)
    assert refused.value.reason == "bad-policy"
    check(file, world.policy(recomputed=False), NOW_S)


def log_as_erasure(world: World, data: bytes) -> None:
    """A validator that logs what it should have refused, as the erasure of the giver's log."""
    sign1 = cose.parse(data, 1 << 16)

    def do(work: Work) -> None:
        ((log,),) = work.connection.execute(
            sa.select(schema.logs.c.log).where(schema.logs.c.device == world.giver.id)
        )
        entry = work.statement(ERASURE, sign1, sign1.digest())
        erased.remember(work, log, [erased.Range(0, 1000, 0b1111, entry)])

    world.room.sequencer.ingest.transaction(do)
    world.room.sequencer.log.publish()


def gone_in(world: World, file: EvidenceFile) -> int:
    report = check_evidence(file, world.policy(), NOW_S)
    return len(report.bodies(Erased))


def test_an_erasure_by_another_fleet_discloses_nothing(world: World) -> None:
    log_as_erasure(world, world.order(signer=Fleet("borealis")).encode())
    world.erase()
    file = world.file()
    keys = world.policy()
    both = replace(
        keys, trust=replace(keys.trust, roots={**keys.trust.roots, **Fleet("borealis").roots})
    )
    report = check_evidence(file, both, NOW_S)
    assert report.bodies(Erased) == []


def test_an_erasure_with_a_wrong_signature_refuses_the_file(world: World) -> None:
    data = bytearray(world.order().encode())
    data[-1] ^= 1
    log_as_erasure(world, bytes(data))
    world.room.sequencer.privacy.tick()
    with world.room.sequencer.store.write() as connection:
        connection.execute(schema.claims.update().values(record=b"", salt=b""))
    with pytest.raises(TallyError) as refused:
        gone_in(world, world.file())
    assert refused.value.reason == "bad-signature"


def test_an_order_that_no_log_shows_erased_nothing(world: World) -> None:
    world.erase()
    file = world.file()
    assert gone_in(world, file) == 1
    order = world.order().encode()
    file.entries[:] = [
        (entry, [] if entry == order else receipts) for entry, receipts in file.entries
    ]
    file._data = None
    assert gone_in(world, load_evidence(file.encode())) == 0


def test_an_erased_record_is_answered_with_the_entry_that_erased_it(world: World) -> None:
    done = world.erase()
    config = world.room.sequencer.config
    exporter = Exporter(config.roots, world.room.sequencer.profiles, config.credential)
    with world.room.sequencer.store.read() as connection:
        with pytest.raises(TallyError) as refused:
            exporter.record(connection, world.giver.id, world.giver.epoch, 1)
        assert refused.value.reason == "erased"
        assert f"entry {done.entry} " in refused.value.message
        kept = exporter.record(connection, world.giver.id, world.giver.epoch, 0)
    assert len(evidencefile.parse(kept).halves) == 1
