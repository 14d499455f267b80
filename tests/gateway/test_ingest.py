"""The core: what a segment or a hello leads to. Real objects, a real store, no network."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.devices import VALID_S, Device, Fleet, key
from support.gateways import MemoryGateway
from tallystick.evidence import checkpoint, enrolment, segment
from tallystick.evidence.hello import Hello
from tallystick.evidence.keys import ES256
from tallystick.evidence.segment import Segment, Stretch
from tallystick.gateway import gatewaylog
from tallystick.gateway import placing as core

ACME = Fleet("acme")


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[MemoryGateway]:
    made = MemoryGateway(tmp_path, ACME)
    yield made
    made.store.close()


@pytest.fixture
def robot(gate: MemoryGateway) -> Device:
    """A known device with five stretches of four records."""
    made = ACME.device()
    for _ in range(5):
        made.record(4)
    gate.know(made)
    return made


# --- the way of a healthy device -----------------------------------------------------------


@pytest.mark.parametrize("alg", [-8, ES256])
def test_a_hello_is_welcomed_and_segments_get_one_receipt_a_group(
    gate: MemoryGateway, alg: int
) -> None:
    robot = ACME.device("robot-2", alg)
    for _ in range(3):
        robot.record(8)
    gate.give(robot, robot.hello(), *robot.segments())
    (welcome,) = gate.welcomes(robot)
    assert (welcome.checkpoint, welcome.custody) == (None, None)
    (receipt,) = gate.custody(robot)
    assert (receipt.from_, receipt.to, receipt.root) == (0, robot.size, robot.root)
    assert receipt.bodies
    assert gate.link.acked == [1, 2, 3, 4]
    assert gate.refused() == {}


def test_a_welcome_tells_the_newest_checkpoint_and_receipt(
    gate: MemoryGateway, robot: Device
) -> None:
    gate.give(robot, *robot.segments(), robot.hello())
    (welcome,) = gate.welcomes(robot)
    assert welcome.checkpoint == robot.stretches[-1].checkpoint
    assert welcome.custody is None  # not signed before the COMMIT of the same group
    gate.give(robot, robot.hello())
    assert gate.welcomes(robot)[-1].custody == gate.custody(robot)[-1].encode()


def test_the_gateways_log_has_a_leaf_a_segment(gate: MemoryGateway, robot: Device) -> None:
    gate.give(robot, *robot.segments())
    reader = gate.store.reader()
    tree = gatewaylog.tree_at(reader, 5)
    assert tree.root() == gate.worker._applier.log.tree.root()
    for at in range(6):
        assert gatewaylog.tree_at(reader, at).size == at
    reader.close()


def test_an_idle_device_gets_a_new_receipt_for_each_repeated_head(
    gate: MemoryGateway, robot: Device
) -> None:
    gate.give(robot, *robot.segments())
    for _ in range(3):
        robot.seal()
        gate.give(robot, robot.segment(-1))
    assert gate.ranges()[-1][1:] == (robot.size, robot.size)
    assert len(gate.ranges()) == 8
    assert len(gate.custody(robot)) == 4
    # A replay of an older repeated head is no new one.
    gate.give(robot, robot.segment(-2, -1), robot.segment(-1))
    assert len(gate.ranges()) == 8
    assert gate.refused() == {"replayed": 2}


def test_a_repeated_head_at_the_end_of_a_segment_is_kept(
    gate: MemoryGateway, robot: Device
) -> None:
    gate.give(robot, *robot.segments())
    robot.seal()
    gate.give(robot, robot.segment(0))
    assert gate.tracks()[0][2] == robot.stretches[-1].checkpoint
    assert len(gate.ranges()) == 6


# --- repetition and overlap ----------------------------------------------------------------


def test_a_replay_gets_the_same_receipt_and_no_second_leaf(
    gate: MemoryGateway, robot: Device
) -> None:
    gate.give(robot, *robot.segments())
    before = gate.custody(robot)[-1].encode()
    gate.give(robot, robot.segment(2, 3), robot.segment(4, 5), robot.segment(0, 5))
    assert gate.custody(robot)[-1].encode() == before
    assert len(gate.custody(robot)) == 2  # one answer for the group
    assert len(gate.ranges()) == 5
    assert gate.refused() == {"replayed": 3}


def test_a_replay_within_the_group_that_stored_it_is_found(
    gate: MemoryGateway, robot: Device
) -> None:
    gate.give(robot, *robot.segments(), *robot.segments())
    assert len(gate.ranges()) == 5
    assert gate.refused() == {"replayed": 5}


def test_overlap_is_trimmed_where_a_stretch_begins(gate: MemoryGateway, robot: Device) -> None:
    gate.give(robot, robot.segment(0, 2), robot.segment(1, 4), robot.segment(0, 5))
    assert [row[1:] for row in gate.ranges()] == [(0, 9), (9, 17), (17, 21)]
    assert gate.custody(robot)[-1].root == robot.root
    assert gate.refused() == {}


def test_a_replay_is_answered_even_when_no_receipt_was_signed(
    gate: MemoryGateway, robot: Device
) -> None:
    gate.give(robot, *robot.segments())
    with gate.store.write() as connection:
        connection.execute("UPDATE tracks SET custody = NULL, custody_to = -1")
        connection.execute("DELETE FROM custody")
    gate.link.down.clear()
    gate.reopen()
    gate.give(robot, robot.segment(3, 4))
    assert gate.custody(robot)[-1].to == robot.size


# --- what comes early ----------------------------------------------------------------------


def test_what_comes_early_waits_and_the_hole_is_asked_for(
    gate: MemoryGateway, robot: Device
) -> None:
    first, *rest = robot.segments()
    gate.give(robot, *reversed(rest))
    assert gate.status()["parked_segments"] == 4
    (asked,) = gate.resends(robot)
    assert (asked.epoch, asked.from_, asked.to) == (robot.epoch, 0, robot.stretches[4].first)
    assert gate.custody(robot) == []
    gate.give(robot, first)
    assert gate.status()["parked_segments"] == 0
    assert gate.status()["parked_bytes"] == 0
    assert gate.custody(robot)[-1].to == robot.size


def test_parked_segments_survive_a_restart(gate: MemoryGateway, robot: Device) -> None:
    first, *rest = robot.segments()
    gate.give(robot, *rest)
    gate.reopen()
    gate.give(robot, rest[0])
    assert gate.refused()["replayed"] == 1
    gate.give(robot, first)
    assert gate.tracks()[0][:2] == (0, robot.size)
    assert gate.status()["parked_bytes"] == 0


def test_parking_is_bounded_for_a_device_and_for_all(tmp_path: Path) -> None:
    one, two = ACME.device("one"), ACME.device("two")
    for robot in (one, two):
        for _ in range(6):
            robot.record(4)
    size = max(len(data) for data in one.segments())
    gate = MemoryGateway(
        tmp_path, ACME, parked_device_bytes_max=3 * size, parked_bytes_max=4 * size
    )
    gate.know(one, two)
    gate.give(one, *one.segments()[1:])
    assert gate.status()["parked_segments"] == 3
    gate.give(two, *two.segments()[1:])
    assert gate.status()["parked_segments"] == 4
    assert gate.refused()["over-quota"] == 6
    # What was refused is asked for again, and fits once the hole is filled.
    gate.give(one, *one.segments())
    gate.give(two, *two.segments())
    assert gate.tracks()[0][1] == one.size
    assert gate.tracks()[1][1] == two.size
    gate.store.close()


def test_only_what_the_device_signed_may_be_parked(gate: MemoryGateway, robot: Device) -> None:
    other = ACME.device("other")
    for _ in range(5):
        other.record(4)
    forged = Segment(
        robot.id,
        robot.epoch,
        robot.stretches[3].first,
        None,
        [Stretch(list(robot.stretches[3].records), robot.stretches[3].seed, b"")],
    )
    forged.stretches[0].checkpoint = other.stretches[3].checkpoint
    gate.give(robot, forged.encode())
    damaged = bytearray(robot.segment(3, 4))
    damaged[-1] ^= 1  # of the signature
    gate.give(robot, bytes(damaged))
    assert gate.status()["parked_segments"] == 0
    assert set(gate.refused()) == {"bad-stretch", "bad-signature"}


def test_resend_requests_are_rate_limited(gate: MemoryGateway, robot: Device) -> None:
    for data in robot.segments()[1:]:
        gate.give(robot, data, data)
    assert len(gate.resends(robot)) == 1


# --- knowledge that begins in the middle ---------------------------------------------------


def test_it_joins_in_the_middle_with_the_edge_and_says_where(
    gate: MemoryGateway, robot: Device
) -> None:
    gate.give(robot, robot.segment(2, 4, edge=True), robot.segment(4))
    (receipt,) = gate.custody(robot)
    assert (receipt.from_, receipt.to, receipt.root) == (9, robot.size, robot.root)
    (late,) = gate.began_late()
    assert (late["from"], late["to"]) == (9, robot.size)


def test_the_past_may_come_later_and_joins(gate: MemoryGateway, robot: Device) -> None:
    gate.give(robot, robot.segment(3, 5, edge=True), robot.segment(1, 2, edge=True))
    assert [row[:2] for row in gate.tracks()] == [(5, 9), (13, 21)]
    gate.give(robot, robot.segment(0, 5))
    assert [row[:2] for row in gate.tracks()] == [(0, 21)]
    assert sorted(row[1:] for row in gate.ranges()) == [(0, 5), (5, 9), (9, 13), (13, 21)]
    receipt = gate.custody(robot)[-1]
    assert (receipt.from_, receipt.to) == (0, 21)
    gate.reopen()
    robot.record(2)
    gate.give(robot, robot.segment(5))
    assert gate.custody(robot)[-1].root == robot.root


def test_a_wrong_edge_is_refused(gate: MemoryGateway, robot: Device) -> None:
    parsed = segment.parse(robot.segment(2, 3, edge=True))
    assert parsed.edge is not None
    parsed.edge.hashes[0] = bytes(32)
    wrong = Segment(robot.id, robot.epoch, 9, parsed.edge, parsed.stretches).encode()
    gate.give(robot, wrong)
    assert gate.refused() == {"bad-edge": 1}


# --- elided bodies -------------------------------------------------------------------------


def test_elided_items_get_a_receipt_that_does_not_claim_bodies(
    gate: MemoryGateway, robot: Device
) -> None:
    gate.give(robot, robot.segment(0, 2), robot.segment(2, 3, elide=True), robot.segment(3))
    with_bodies, without = gate.custody(robot)
    assert (with_bodies.from_, with_bodies.to, with_bodies.bodies) == (13, 21, True)
    assert (without.from_, without.to, without.bodies) == (0, 21, False)
    gate.reopen()
    gate.give(robot, robot.segment(2, 3))
    assert {r.bodies for r in gate.custody(robot)[2:]} == {True, False}


# --- contradictions ------------------------------------------------------------------------


def forked(robot: Device) -> Device:
    """The same key with another history from the third stretch on."""
    twin = robot.clone()
    del twin.stretches[3:]
    del twin.leaves[twin.stretches[-1].to :]
    twin.decision("another story")
    twin.seal(b"\x07" * 32)
    twin.decision("and another")
    twin.seal(b"\x08" * 32)
    return twin


@pytest.mark.parametrize("edge", [False, True])
def test_both_sides_of_a_fork_are_kept(gate: MemoryGateway, robot: Device, edge: bool) -> None:
    gate.give(robot, *robot.segments())
    twin = forked(robot)
    data = twin.segment(3, 4, edge=True) if edge else twin.segment(0, 4)
    gate.give(twin, data, twin.segment(4))
    assert gate.status()["forks"] == 1
    assert gate.status()["suspect"] == [{"device": robot.text, "reason": "fork"}]
    assert gate.refused()["fork"] == 1
    reader = gate.store.reader()
    ours, theirs = reader.execute("SELECT our_head, their_head FROM forks").fetchone()
    key_ = robot.signer.public_key()
    one, other = (checkpoint.parse(data).verify(key_) for data in (ours, theirs))
    assert one.root != other.root
    reader.close()
    # Both go on, and both are answered.
    robot.record(3)
    twin.record(3)
    gate.give(robot, robot.segment(-1), twin.segment(-1))
    roots = {receipt.root for receipt in gate.custody(robot)}
    assert {robot.root, twin.root} <= roots
    assert gate.status()["forks"] == 1
    gate.reopen()
    gate.give(robot, robot.segment(-1), data)
    assert gate.refused()["replayed"] == 2


def test_a_branch_without_an_edge_is_asked_for_from_the_start(
    gate: MemoryGateway, robot: Device
) -> None:
    gate.give(robot, *robot.segments()[:3])
    twin = forked(robot)
    gate.give(robot, *robot.segments()[3:])
    gate.give(twin, twin.segment(4))
    # It begins where nothing of ours ends.
    assert gate.refused()["bad-root"] == 1
    assert gate.resends(robot)[-1].from_ == 0
    gate.give(twin, twin.segment(0))
    assert gate.status()["forks"] == 1


def test_a_stored_branch_can_be_followed_by_others(gate: MemoryGateway, robot: Device) -> None:
    gate.give(robot, *robot.segments())
    twin = forked(robot)
    gate.give(twin, twin.segment(3, 4))  # it fits our tree at 13, so no edge is needed here
    reader = gate.store.reader()
    (data,) = reader.execute("SELECT data FROM segments ORDER BY at DESC LIMIT 1").fetchone()
    reader.close()
    stored = segment.parse(data)
    assert stored.edge is not None
    segment.verify_segment(stored, robot.signer.public_key())


# --- epochs --------------------------------------------------------------------------------


def test_what_comes_late_of_a_left_epoch_shows_nothing(gate: MemoryGateway, robot: Device) -> None:
    gate.give(robot, *robot.segments())
    after = robot.new_epoch(b"epoch--2")
    after.record(4)
    gate.give(after, *after.segments())
    # Sent before the journal was wiped, and under way for long; or held back by somebody.
    gate.give(robot, robot.segment(4))
    robot.record(2)
    gate.give(robot, robot.segment(5))
    assert gate.status()["suspect"] == []
    assert "frozen-epoch" not in gate.refused()
    assert len(gate.ranges()) == 7


@pytest.mark.parametrize("shown_by", ["custody", "counter"])
def test_who_writes_on_in_a_left_epoch_is_suspect(
    gate: MemoryGateway, robot: Device, shown_by: str
) -> None:
    robot.counter = 7
    gate.give(robot, *robot.segments())
    after = robot.new_epoch(b"epoch--2")
    after.counter = 8
    after.record(4)
    gate.give(after, *after.segments())
    later = after.new_epoch(b"epoch--3")
    later.record(1)
    gate.give(later, *later.segments())
    # The value at which the next epoch began, and a receipt of before, show nothing.
    robot.counter = 8
    robot.custody = gate.custody(robot)[0].digest
    robot.record(1)
    gate.give(robot, robot.segment(5))
    assert gate.status()["suspect"] == []
    if shown_by == "counter":
        robot.counter = 9
    else:
        over = [one for one in gate.custody(robot) if one.epoch == later.epoch]
        robot.custody = over[-1].digest
    robot.record(2)
    gate.give(robot, robot.segment(6))
    assert gate.status()["suspect"] == [{"device": robot.text, "reason": "frozen-epoch"}]
    assert gate.refused()["frozen-epoch"] == 1
    # It is kept.
    assert len(gate.ranges()) == 9


def test_it_shows_within_one_transaction(gate: MemoryGateway, robot: Device) -> None:
    robot.counter = 7
    gate.give(robot, *robot.segments())
    after = robot.new_epoch(b"epoch--2")
    after.counter = 8
    after.record(4)
    robot.counter = 9
    robot.record(1)
    gate.give(robot, *after.segments(), robot.segment(5))
    assert gate.status()["suspect"] == [{"device": robot.text, "reason": "frozen-epoch"}]


def test_another_chips_counter_shows_nothing(gate: MemoryGateway, robot: Device) -> None:
    gate.give(robot, *robot.segments())
    after = robot.new_epoch(b"epoch--2")
    after.record(4)  # by a key without a counter
    gate.give(after, *after.segments())
    robot.counter = 99
    robot.record(1)
    gate.give(robot, robot.segment(5))
    assert gate.status()["suspect"] == []


def test_the_end_of_an_epoch_may_come_after_the_next_one_began(
    gate: MemoryGateway, robot: Device
) -> None:
    gate.give(robot, *robot.segments()[:3])
    after = robot.new_epoch(b"epoch--2")  # names the head of epoch 1
    after.record(4)
    gate.give(after, *after.segments())
    gate.give(robot, *robot.segments()[3:])
    assert gate.status()["suspect"] == []
    assert [row[:2] for row in gate.tracks()] == [(0, 21), (0, 5)]


def test_an_old_epoch_that_is_seen_late_freezes_nothing(gate: MemoryGateway, robot: Device) -> None:
    after = robot.new_epoch(b"epoch--2")
    after.record(4)
    gate.give(after, *after.segments())
    gate.give(robot, *robot.segments())
    after.record(4)
    gate.give(after, after.segment(1))
    assert gate.status()["suspect"] == []


# --- who is known --------------------------------------------------------------------------


def test_an_unknown_device_is_refused_before_anything_is_decoded(gate: MemoryGateway) -> None:
    stranger = Fleet("nobody").device()
    stranger.record(4)
    gate.give(stranger, *stranger.segments(), b"\x86\x0d" + bytes(60))
    assert gate.refused() == {"unknown-device": 1, "wrong-device": 1} or gate.refused() == {
        "unknown-device": 2
    }
    gate.give(stranger, stranger.hello())
    assert gate.refused()["not-enrolled"] == 1
    assert gate.status()["devices"] == 0


def test_a_credential_of_another_device_is_refused(gate: MemoryGateway, robot: Device) -> None:
    other = ACME.device("other")
    hello = Hello(other.id, other.epoch, 0, 0, robot.credential).encode()
    gate.give(other, hello)
    assert gate.refused() == {"wrong-device": 1}


def test_a_gateways_credential_is_no_devices(gate: MemoryGateway) -> None:
    signer, credential = ACME.member("posing", enrolment.SUBJECT_GATEWAY)
    posing = Device(ACME, signer, credential)
    posing.record(2)
    gate.give(posing, posing.hello(), posing.segment())
    assert gate.refused() == {"not-enrolled": 1, "unknown-device": 1}


def test_an_expired_enrolment_is_refused(gate: MemoryGateway) -> None:
    signer = key("old robot of acme")
    old = Device(ACME, signer, ACME.enrol(signer, valid_s=(VALID_S[0], VALID_S[0] + 1)))
    old.record(1)
    gate.give(old, old.hello(), old.segment())
    assert gate.refused() == {"expired": 1, "unknown-device": 1}


def test_a_second_fleet_may_not_take_a_device_over(tmp_path: Path) -> None:
    globex = Fleet("globex")
    gate = MemoryGateway(tmp_path, ACME, globex)
    robot = ACME.device()
    gate.know(robot)
    taken = Device(globex, robot.signer, globex.enrol(robot.signer))
    gate.give(taken, taken.hello())
    assert gate.refused() == {"already-enrolled": 1}
    gate.store.close()


def test_a_repeated_hello_checks_no_signature(
    gate: MemoryGateway, robot: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.give(robot, robot.hello())

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("tallystick.gateway.identities.verify_credential", never)
    gate.give(robot, robot.hello())
    assert len(gate.welcomes(robot)) == 2


# --- the door ------------------------------------------------------------------------------


def bad_messages(robot: Device) -> dict[str, tuple[bytes, str | None, bool]]:
    """reason -> (payload, topic, retained)."""
    good = robot.segment(0, 1)
    other = ACME.device("other")
    other.record(4)
    damaged = bytearray(good)
    damaged[-1] ^= 1
    foreign = robot.segment(0, 1).replace(
        robot.stretches[0].checkpoint, other.stretches[0].checkpoint
    )
    changed = good.replace(b"grip", b"drop", 1)
    longer = b"\x86\x18\x0d" + good[2:]
    return {
        "retained": (good, None, True),
        "wrong-topic": (good, "tallystick/1/robot-1/up", False),
        "too-large": (bytes(300_000), None, False),
        "truncated": (good[:-3], None, False),
        "trailing-bytes": (good + b"\x00", None, False),
        "unknown-kind": (longer, None, False),
        "wrong-device": (other.segment(), None, False),
        "bad-signature": (bytes(damaged), None, False),
        "bad-root": (changed, None, False),
        "non-canonical": (good[:46] + b"\x18\x00" + good[47:], None, False),
        "bad-type": (b"\x86\x0d" + b"\x58\x20" + robot.id + b"\x48epoch--1\xf6", None, False),
        "foreign": (foreign, None, False),
    }


@pytest.mark.parametrize(
    "reason",
    [
        "retained", "wrong-topic", "too-large", "truncated", "trailing-bytes", "unknown-kind",
        "wrong-device", "bad-signature", "bad-root", "non-canonical", "bad-type", "foreign",
    ],
)  # fmt: skip
def test_bad_input_is_refused_by_name_and_nothing_else_is_affected(
    gate: MemoryGateway, robot: Device, reason: str
) -> None:
    payload, topic, retained = bad_messages(robot)[reason]
    gate.send(robot, payload, topic=topic, retained=retained)
    gate.send(robot, *robot.segments())
    gate.turn()
    named = "wrong-device" if reason == "foreign" else reason
    assert gate.refused() == {named: 1}
    assert gate.custody(robot)[-1].to == robot.size
    assert gate.link.acked == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "topic",
    ["", "x", "tallystick/1/up", "tallystick/2/{id}/up", "tallystick/1/{id}/down",
     "tallystick/1/{id}/up/more", "tallystick/1/{id}=/up", "other/{id}/up"],
)  # fmt: skip
def test_foreign_topics_are_refused(gate: MemoryGateway, robot: Device, topic: str) -> None:
    gate.send(robot, robot.segment(0, 1), topic=topic.format(id=robot.text))
    gate.turn()
    if topic:
        assert gate.refused() == {"wrong-topic": 1}


def test_repeated_bad_input_costs_no_signature_check(
    gate: MemoryGateway, robot: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = bytearray(robot.segment(0, 1))
    damaged[-1] ^= 1
    checked = []
    real = core.Placer.place

    def counting(self: core.Placer, *args: object) -> object:
        checked.append(1)
        return real(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(core.Placer, "place", counting)
    gate.give(robot, *[bytes(damaged)] * 50)
    assert len(checked) == 1
    assert gate.refused() == {"bad-signature": 50}


def test_a_flood_of_different_bad_input_is_refused_before_signature_checks(
    gate: MemoryGateway, robot: Device
) -> None:
    flood = []
    for n in range(400):
        damaged = bytearray(robot.segment(0, 1))
        damaged[-1 - n % 32] ^= 1 + n // 32
        flood.append(bytes(damaged))
    gate.give(robot, *flood)
    refused = gate.refused()
    assert refused["over-quota"] >= 250
    # Another device is not affected.
    other = ACME.device("other")
    other.record(4)
    gate.know(other)
    gate.give(other, other.segment())
    assert gate.custody(other)[-1].to == other.size


def test_notices_tell_why_and_are_rate_limited(gate: MemoryGateway, robot: Device) -> None:
    gate.give(robot, *[robot.segment(0, 1)[:-4] + bytes([n]) for n in range(20)])
    assert [notice.reason for notice in gate.notices(robot)] == ["truncated"]


def test_a_defect_in_the_core_costs_one_message(
    gate: MemoryGateway, robot: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = core.Placer.place

    def failing(self: core.Placer, log: object, parsed: Segment, identity: object) -> object:
        if parsed.first == 5 and len(parsed.stretches) == 1:
            message = "a defect"
            raise ZeroDivisionError(message)
        return real(self, log, parsed, identity)  # type: ignore[arg-type]

    monkeypatch.setattr(core.Placer, "place", failing)
    gate.give(robot, *robot.segments(), robot.segment(1))
    assert gate.refused()["internal-error"] == 1
    assert gate.tracks()[0][:2] == (0, robot.size)
    assert sorted(gate.link.acked) == [1, 2, 3, 4, 5, 6]


# --- what a guard taken out would let through ------------------------------------------------


def test_a_replay_checks_no_signature(
    gate: MemoryGateway, robot: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.give(robot, *robot.segments())

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(core, "verify_segment", never)
    gate.give(robot, *robot.segments())
    assert gate.refused() == {"replayed": 5}


def test_an_older_repeated_head_that_comes_late_is_no_news(
    gate: MemoryGateway, robot: Device
) -> None:
    gate.give(robot, *robot.segments())
    for _ in range(3):
        robot.seal()
    gate.give(robot, robot.segment(5, 6), robot.segment(7, 8))
    gate.give(robot, robot.segment(6, 7))
    assert len(gate.ranges()) == 7
    assert gate.tracks()[0][2] == robot.stretches[7].checkpoint


def test_a_head_known_alone_is_taken_in_and_the_newest_stays(
    gate: MemoryGateway, robot: Device
) -> None:
    robot.seal()
    robot.seal()
    gate.give(robot, robot.segment(5, 6, edge=True))  # the first repeated head, nothing else
    assert [row[:2] for row in gate.tracks()] == [(21, 21)]
    gate.give(robot, robot.segment(0, 7))
    assert [row[:2] for row in gate.tracks()] == [(0, 21)]
    assert gate.tracks()[0][2] == robot.stretches[6].checkpoint
    robot.record(3)
    gate.give(robot, robot.segment(7))
    assert gate.custody(robot)[-1].root == robot.root


def test_a_head_known_alone_does_not_stay_behind(gate: MemoryGateway, robot: Device) -> None:
    robot.seal()
    robot.record(4)
    gate.give(robot, robot.segment(0, 1), robot.segment(5, 6, edge=True))
    gate.give(robot, robot.segment(1, 4), robot.segment(4, 7))
    assert [row[:2] for row in gate.tracks()] == [(0, robot.size)]


def test_the_newest_receipt_comes_last_when_the_end_is_elided(
    gate: MemoryGateway, robot: Device
) -> None:
    gate.give(robot, robot.segment(0, 3))
    gate.give(robot, robot.segment(3, 5, elide=True))
    gate.link.down.clear()
    gate.give(robot, robot.segment(0, 1))
    assert [(r.to, r.bodies) for r in gate.custody(robot)] == [(13, True), (21, False)]
    gate.give(robot, robot.hello())
    welcomed = gate.welcomes(robot)[-1].custody
    assert welcomed == gate.custody(robot)[-1].encode()


def test_a_fork_is_recorded_once_when_pieces_join(gate: MemoryGateway, robot: Device) -> None:
    twin = forked(robot)
    gate.give(robot, robot.segment(3, 5, edge=True))
    gate.give(twin, twin.segment(3, 4, edge=True))
    assert gate.status()["forks"] == 1
    gate.give(robot, robot.segment(0, 3))  # the past of both; one of them takes it
    gate.reopen()
    robot.record(2)
    twin.record(2)
    gate.give(robot, robot.segment(-1, None))
    gate.give(twin, twin.segment(-1, None))
    gate.give(robot, robot.segment(0))
    gate.give(twin, twin.segment(0))
    assert gate.status()["forks"] == 1


def test_a_device_may_not_begin_epochs_without_end(
    gate: MemoryGateway, robot: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tallystick.gateway.limits.EPOCHS_PER_DEVICE_MAX", 3)
    for n in range(5):
        robot = robot.new_epoch(b"epoch--%d" % n)
        robot.record(1)
        gate.give(robot, robot.segment())
    assert gate.status()["logs"] == 3
    assert gate.refused()["over-quota"] == 2


def test_pieces_that_do_not_touch_are_bounded(
    gate: MemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "TRACKS_PER_LOG_MAX", 3)
    robot = ACME.device()
    for _ in range(12):
        robot.record(2)
    gate.know(robot)
    gate.give(robot, *[robot.segment(n, n + 1, edge=True) for n in range(1, 12, 2)])
    assert len(gate.tracks()) == 3
    assert gate.refused() == {"over-quota": 3}
    gate.give(robot, *robot.segments())
    assert [row[:2] for row in gate.tracks()] == [(0, robot.size)]
