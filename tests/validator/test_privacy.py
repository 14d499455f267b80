"""Bodies that go: by order or by age, from every place, for good; bodies that must stay."""

import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from support.devices import Device, Fleet
from support.story import disclose
from support.validating import HANDOVER, START_MS, Gateway, Room, handover
from tallystick.evidence import cose, erasure, evidencefile, leaf, segment
from tallystick.evidence.erasure import Erasure
from tallystick.evidence.errors import TallyError
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.keys import b64u
from tallystick.evidence.kinds import ERASURE
from tallystick.evidence.note import NoteKey
from tallystick.evidence.root import format_root
from tallystick.evidence.segment import Segment
from tallystick.validator import erased, erasing, holds, patience, schema
from tallystick.validator.access import Scope
from tallystick.validator.elide import without
from tallystick.validator.evidence import Exporter
from tallystick.validator.work import Work
from tallystick.verify import check, check_evidence, load_evidence
from tallystick.verify._erasures import Erased
from tallystick.verify.policy import Policy, parse_policy

NOW_S = START_MS // 1000 + 3600
DAY_MS = 86_400_000
CANARY = "canary-4711"
DECISION, CLAIM, EVENT, HALF = range(4)
RETENTION = '\n[retention]\ndecisions = "30 d"\nclaims = "60 d"\nhalves = "60 d"\n'


class World:
    """A giver, whose half the receiver accepted, a matched handover, and decisions."""

    def __init__(self, room: Room, fleet: Fleet) -> None:
        self.room = room
        self.fleet = fleet
        self.giver, self.receiver = fleet.device("a"), fleet.device("b")
        self.gateway = Gateway(fleet)
        self.sent: dict[bytes, int] = {}
        self.giver.decision(action=CANARY)
        self.giver.decisions(3)
        handed(self.giver, self.receiver, "order-1")
        self.send()

    def send(self) -> None:
        devices = [self.giver, self.receiver]
        for device in devices:
            segments = device.segments()
            self.gateway.take(*segments[self.sent.get(device.id, 0) :])
            self.sent[device.id] = len(segments)
        self.room.send(self.gateway.batch(devices=devices))
        self.room.settle()

    def order(self, device: Device | None = None, **changes: Any) -> Erasure:
        """The fleet's order about a device's whole log."""
        wanted: dict[str, Any] = {
            "epoch": self.giver.epoch,
            "ranges": [[0, 1000]],
            "kinds": [DECISION, CLAIM],
            "cause": "request",
            "validator": None,
            "time_ms": START_MS,
        } | changes
        signer = wanted.pop("signer", self.fleet)
        data = Erasure(**wanted).sign(signer.root, signer.name, (device or self.giver).id)
        return erasure.parse(data)

    def erase(self, device: Device | None = None, **changes: Any) -> Any:
        return self.room.sequencer.privacy.order(self.order(device, **changes))

    def file(self, scope: Scope | None = None) -> EvidenceFile:
        config = self.room.sequencer.config
        exporter = Exporter(config.roots, self.room.sequencer.profiles, config.credential)
        ((interaction,),) = self.room.rows("SELECT DISTINCT interaction FROM party_sets")
        given = {} if scope is None else {"scope": scope}
        with self.room.sequencer.store.read() as connection:
            data = exporter.interaction(connection, "dock-3", interaction, **given)
        return load_evidence(data)

    def policy(self, *, recomputed: bool = True) -> Policy:
        keys = self.room.sequencer.keys
        return parse_policy(
            f'roots = ["{self.fleet.root_line}"]\n'
            '[devices]\ncustody = "software"\n'
            f'[profiles]\ndigests = ["{b64u(HANDOVER.digest)}"]\n'
            f"[validators]\nat_least = 1\nrecomputed = {str(recomputed).lower()}\n"
            f'[[validators.accept]]\norganisation = "{keys.name}"\n'
            f'key = "{format_root(keys.name, keys.signer.public_key())}"\n'
            f'note_key = "{NoteKey(keys.origin, keys.notes.public_key()).text()}"\n'
        )

    def on_disk(self) -> bytes:
        return on_disk(self.room)

    def states(self) -> list[str]:
        return [row[0] for row in self.room.rows("SELECT state FROM verdicts ORDER BY entry")]


def on_disk(room: Room) -> bytes:
    """Every byte of the store: of its files, once what was erased is overwritten there; of every
    row where they are another server's."""
    room.sequencer.privacy.scrub()
    assert not room.sequencer.privacy.unscrubbed
    files = [path.read_bytes() for path in sorted(room.folder.glob("*sqlite*"))]
    if files:
        return b"".join(files)
    with room.sequencer.store.read() as connection:
        tables = schema.metadata.sorted_tables
        rows = [row for table in tables for row in connection.execute(table.select())]
    cells = [cell for row in rows for cell in row]
    return b"".join(c if isinstance(c, bytes) else str(c).encode() for c in cells)


def handed(giver: Device, receiver: Device, task: str) -> None:
    """A handover whose receiver journaled the giver's half before it claimed."""
    parties = {"giver": [giver.id], "receiver": [receiver.id]}
    fields: dict[str, Any] = {"item": CANARY, "position_m": [1, 2]}
    giver.claim(task, "giver", "released", parties, HANDOVER.digest, **fields)
    giver.seal()
    receiver.accept(disclose(giver, giver.size - 1, embed=True).encode())
    receiver.claim(task, "receiver", "acquired", parties, HANDOVER.digest, **fields)
    receiver.seal()


@pytest.fixture
def world(room: Room, fleet: Fleet) -> World:
    return World(room, fleet)


def salt_at(device: Device, index: int) -> bytes:
    stretch = next(one for one in device.stretches if one.first <= index < one.to)
    return leaf.salt(stretch.seed, index)


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
