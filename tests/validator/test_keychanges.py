"""A17 at validators and offline: keys that were rotated, retired, lost or compromised, and used."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from support.devices import VALID_S, WALL_MS, Device, Fleet, key
from support.keychanges import Head, Rotated, head_of, replaced, revoke, rotate
from support.story import disclose
from support.validating import START_MS, Gateway, Room, handover
from tallystick.evidence import cbor, evidencefile, keychange, verdict
from tallystick.evidence.credential import Credential
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.keychange import COMPROMISED, LOST, RETIRED
from tallystick.evidence.keys import b64u
from tallystick.evidence.note import NoteKey
from tallystick.evidence.root import format_root
from tallystick.tools.export import merge
from tallystick.validator import forks, keystatus, publication
from tallystick.validator.answers import Published
from tallystick.validator.evidence import Exporter
from tallystick.validator.problem import Problem
from tallystick.verify import Report, check, load_evidence, profiles, standing
from tallystick.verify.policy import Policy, parse_policy

HANDOVER = profiles.load("handover")
NOW_S = START_MS // 1000 + 3600


@pytest.fixture
def rooms(tmp_path: Path, fleet: Fleet) -> Iterator[list[Room]]:
    """Three validators of three organisations."""
    made = [Room(tmp_path / str(n), [fleet], owner=f"notary-{n}") for n in range(3)]
    yield made
    for room in made:
        room.close()


def publish(room: Room, *credentials: list[bytes]) -> Published:
    return room.sequencer.ingest.publish([Credential(list(one)) for one in credentials])


def sent(room: Room, gateway: Gateway, first: int = 0, *devices: Device) -> list[tuple[int, str]]:
    refused = room.send(gateway.batch(first, devices=list(devices))).refused
    room.settle()
    return refused


def newest(room: Room) -> verdict.Verdict:
    (data,) = room.rows("SELECT data FROM entries WHERE kind = 10 ORDER BY entry DESC LIMIT 1")[0]
    return verdict.parse(data)


def statuses(room: Room) -> set[str]:
    return {row.status for row in newest(room).finding.claims}


def exported(room: Room, task: str = "order-1") -> EvidenceFile:
    from tallystick.evidence.ids import interaction_id

    exporter = Exporter(
        room.sequencer.config.roots, room.sequencer.profiles, room.sequencer.config.credential
    )
    wanted = interaction_id(HANDOVER.digest, "dock-3", task)
    with room.sequencer.store.read() as connection:
        data = exporter.interaction(connection, "dock-3", wanted)
    return evidencefile.parse(data)


def policy(fleet: Fleet, rooms: list[Room], at_least: int) -> Policy:
    lines = [
        f'roots = ["{fleet.root_line}"]',
        '[devices]\ncustody = "software"',
        f'[profiles]\ndigests = ["{b64u(HANDOVER.digest)}"]',
        f"[validators]\nat_least = {at_least}",
    ]
    for room in rooms:
        keys = room.sequencer.keys
        line = format_root(keys.name, keys.signer.public_key())
        note = NoteKey(keys.origin, keys.notes.public_key()).text()
        lines.append(
            f'[[validators.accept]]\norganisation = "{keys.name}"\nkey = "{line}"\n'
            f'note_key = "{note}"'
        )
    return parse_policy("\n".join(lines) + "\n")


def verified(fleet: Fleet, rooms: list[Room], at_least: int = 2) -> Report:
    file = merge([exported(room) for room in rooms])
    return check(load_evidence(file.encode()), policy(fleet, rooms, at_least), NOW_S)


# --- retired, lost, rotated: the named prefix, whenever it arrives -------------------------------


@pytest.mark.parametrize(("reason", "status"), [(RETIRED, "retired"), (LOST, "lost")])
@pytest.mark.parametrize("late", [False, True])
def test_the_named_prefix_stays_good_whenever_it_arrives(
    room: Room, fleet: Fleet, reason: int, status: str, late: bool
) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    handover(giver, receiver, "order-1")
    credential = revoke(giver, reason, head_of(giver))
    gateway.take(*giver.segments(), *receiver.segments())
    if late:
        publish(room, credential)
    assert sent(room, gateway, 0, giver, receiver) == []
    publish(room, credential)
    room.settle()
    assert room.states() == {"matched": 1}
    assert statuses(room) == {status, "active"}


@pytest.mark.parametrize("late", [False, True])
def test_beyond_the_named_head_is_kept_flagged_and_insufficient(
    room: Room, fleet: Fleet, late: bool
) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    giver.record(2)
    credential = revoke(giver, RETIRED, head_of(giver))
    handover(giver, receiver, "order-1")
    gateway.take(*giver.segments(), *receiver.segments())
    if late:
        publish(room, credential)
    refused = sent(room, gateway, 0, giver, receiver)
    assert refused == ([(1, "revoked")] if late else [])
    publish(room, credential)
    room.settle()
    assert room.states() == {"insufficient": 1}
    assert statuses(room) == {"suspect", "active"}
    assert len(room.rows("SELECT claim FROM claims")) == 2
    # One device's ended key makes no other one suspect, and is no fork.
    assert room.rows("SELECT DISTINCT suspect FROM identities") == [(None,)]
    # What came after the revocation is kept whole, apart.
    kept = room.rows("SELECT reason, segment FROM forks")
    assert kept == ([("revoked", giver.segment(1))] if late else [])


def test_who_has_an_old_key_cannot_fill_the_store(
    room: Room, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "APART_KEPT_PER_DEVICE_MAX", 3)
    giver, gateway = fleet.device("a"), Gateway(fleet)
    giver.record(1)
    gateway.take(giver.segment())
    assert sent(room, gateway, 0, giver) == []
    publish(room, revoke(giver, RETIRED, head_of(giver)))
    for number in range(1, 7):
        giver.record(1)
        gateway.take(giver.segment(number, edge=True))
        assert sent(room, gateway, number) == [(number, "revoked")]
    assert len(room.rows("SELECT fork FROM forks")) == 3
    assert len(room.rows("SELECT entry FROM entries WHERE kind = 4")) == 4
    gateway.take(giver.segment(1, 2, edge=True))
    assert sent(room, gateway, 7) == [(7, "revoked")]
    assert len(room.rows("SELECT entry FROM entries WHERE kind = 4")) == 4


def test_a_branch_that_was_a_fork_and_is_beyond_an_end_now_is_kept_once(
    room: Room, fleet: Fleet
) -> None:
    giver, gateway, rogue = fleet.device("a"), Gateway(fleet), Gateway(fleet, "rogue")
    giver.record(1)
    named = head_of(giver)
    clone = giver.clone()
    giver.record(3)
    clone.decision("let go")
    clone.record(1)
    gateway.take(*giver.segments())
    assert sent(room, gateway, 0, giver) == []
    rogue.take(clone.segment(1))
    assert sent(room, rogue) == [(0, "fork")]
    publish(room, revoke(giver, RETIRED, named))
    rogue.take(clone.segment(1))
    assert sent(room, rogue, 1) == [(1, "revoked")]
    assert room.rows("SELECT reason FROM forks") == [("fork",)]


def test_without_a_named_head_nothing_is_trusted(room: Room, fleet: Fleet) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    handover(giver, receiver, "order-1")
    gateway.take(*giver.segments(), *receiver.segments())
    sent(room, gateway, 0, giver, receiver)
    publish(room, revoke(giver, LOST, None))
    room.settle()
    assert room.states() == {"insufficient": 1}


def test_a_named_head_with_another_root_covers_less_than_its_size(room: Room, fleet: Fleet) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    handover(giver, receiver, "order-1")
    gateway.take(*giver.segments(), *receiver.segments())
    sent(room, gateway, 0, giver, receiver)
    # The root trusts another history of this size than the one that is logged here.
    publish(room, revoke(giver, RETIRED, [giver.epoch, giver.size, bytes(32)]))
    room.settle()
    assert room.states() == {"insufficient": 1}


def test_an_earlier_epoch_belongs_to_the_prefix_that_descends_from_it(
    room: Room, fleet: Fleet
) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    handover(giver, receiver, "order-1")
    later = giver.new_epoch(b"epoch--2")
    later.record(2)
    gateway.take(*giver.segments(), *receiver.segments(), *later.segments())
    sent(room, gateway, 0, giver, receiver)
    publish(room, revoke(later, RETIRED, head_of(later)))
    room.settle()
    assert room.states() == {"matched": 1}
    assert statuses(room) == {"retired", "active"}
    report = check(load_evidence(exported(room).encode()), policy(fleet, [room], 1), NOW_S)
    assert {record.status for record in report.records} == {"retired", "active"}


def test_an_epoch_that_nothing_leads_to_is_no_part_of_the_prefix(room: Room, fleet: Fleet) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    handover(giver, receiver, "order-1")
    later = giver.new_epoch(b"epoch--2", knows=False)
    later.record(2)
    gateway.take(*giver.segments(), *receiver.segments(), *later.segments())
    sent(room, gateway, 0, giver, receiver)
    publish(room, revoke(later, RETIRED, head_of(later)))
    room.settle()
    assert room.states() == {"insufficient": 1}
    with pytest.raises(Unverified, match="is suspect"):
        check(load_evidence(exported(room).encode()), policy(fleet, [room], 1), NOW_S)


def test_a_new_key_continues_the_log_and_the_old_one_does_not(room: Room, fleet: Fleet) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    handover(giver, receiver, "order-1")
    thief = giver.clone()
    renewed = rotate(giver, key("second key of a"))
    handover(renewed, receiver, "order-2")
    gateway.take(*renewed.segments(), *receiver.segments())
    assert sent(room, gateway, 0, renewed, receiver) == []
    assert room.states() == {"matched": 2}
    assert {
        r.status
        for d in room.rows("SELECT data FROM entries WHERE kind = 10")
        for r in verdict.parse(d[0]).finding.claims
    } == {"rotated", "active"}
    thief.record(4)
    gateway.take(thief.segment(len(thief.stretches) - 1))
    assert sent(room, gateway, len(gateway.items) - 1) == [(len(gateway.items) - 1, "revoked")]
    renewed.record(1)
    gateway.take(renewed.segment(len(renewed.stretches) - 1))
    assert sent(room, gateway, len(gateway.items) - 1) == []
    assert room.rows("SELECT suspect FROM identities WHERE subject = 0") == [(None,), (None,)]


def test_an_old_keys_branch_that_was_heard_first_is_cut_off(room: Room, fleet: Fleet) -> None:
    giver, receiver = fleet.device("a"), fleet.device("b")
    gateway, rogue = Gateway(fleet), Gateway(fleet, "rogue")
    handover(giver, receiver, "order-1")
    thief = giver.clone()
    handover(thief, receiver, "order-9", sides="g")
    thief.record(3)
    rogue.take(*thief.segments())
    assert sent(room, rogue, 0, thief) == []
    renewed = rotate(giver, key("second key of a"))
    handover(renewed, receiver, "order-2")
    gateway.take(*renewed.segments(), *receiver.segments())
    assert sent(room, gateway, 0, renewed, receiver) == []
    assert room.rows("SELECT suspect FROM identities WHERE subject = 0") == [(None,), (None,)]
    assert room.rows("SELECT size, claims, covered FROM logs ORDER BY log")[0] == (
        renewed.size, 2, renewed.size
    )  # fmt: skip
    # What the thief claimed is kept, with its status.
    assert len(room.rows("SELECT claim FROM claims")) == 5
    renewed.record(2)
    gateway.take(renewed.segment(len(renewed.stretches) - 1))
    assert sent(room, gateway, len(gateway.items) - 1) == []


@pytest.mark.parametrize("thief_first", [False, True])
def test_a_thiefs_branch_below_the_named_head_is_not_trusted(
    room: Room, fleet: Fleet, thief_first: bool
) -> None:
    """A17: it was logged before the revocation, and the named head is on the other branch."""
    giver, receiver = fleet.device("a"), fleet.device("b")
    gateway, rogue = Gateway(fleet), Gateway(fleet, "rogue")
    giver.record(3)
    giver.seal()
    thief = giver.clone()
    giver.record(9)
    handover(giver, receiver, "order-1")
    handover(thief, receiver, "order-9")
    gateway.take(*giver.segments(), *receiver.segments())
    rogue.take(*thief.segments())
    both = [(rogue, [giver]), (gateway, [giver, receiver])]
    for one, devices in both if thief_first else reversed(both):
        sent(room, one, 0, *devices)
    publish(room, revoke(giver, COMPROMISED, head_of(giver)))
    room.settle()
    # Which branch the log here is decides how much stays, and never that the thief's does.
    assert room.states().get("matched", 0) == (0 if thief_first else 1)
    found = [verdict.parse(row[0]) for row in room.rows("SELECT data FROM entries WHERE kind = 10")]
    newest_of = {one.finding.interaction: one.finding for one in found}
    assert [one.state for one in newest_of.values()].count("matched") == (0 if thief_first else 1)


def test_a_named_head_that_comes_after_the_revocation_shows_the_branch(
    room: Room, fleet: Fleet
) -> None:
    giver, receiver = fleet.device("a"), fleet.device("b")
    gateway, rogue = Gateway(fleet), Gateway(fleet, "rogue")
    giver.record(3)
    thief = giver.clone()
    handover(giver, receiver, "order-1")
    thief.record(5)
    gateway.take(*giver.segments(), *receiver.segments())
    assert sent(room, gateway, 0, giver, receiver) == []
    rogue.take(thief.segment(1))
    assert sent(room, rogue, 0) == [(0, "fork")]
    giver.record(2)
    publish(room, revoke(giver, COMPROMISED, head_of(giver)))
    room.settle()
    # Nothing here says that the named head is on the branch of what was claimed.
    assert room.states() == {"insufficient": 1}
    gateway.take(giver.segment(2))
    assert sent(room, gateway, 3) == []
    room.settle()
    assert room.states() == {"matched": 1}


@pytest.mark.parametrize("when", ["beyond", "within", "heard first", "before it is revoked"])
def test_a_compromised_old_key_makes_no_new_one_suspect(
    room: Room, fleet: Fleet, when: str
) -> None:
    """A17: rotated first, and found out later; the thief signs on, also below the named head."""
    giver, receiver = fleet.device("a"), fleet.device("b")
    gateway, rogue = Gateway(fleet), Gateway(fleet, "rogue")
    giver.record(3)
    giver.seal()
    early = giver.clone()
    giver.record(9)
    handover(giver, receiver, "order-1")
    thief = early if when in {"within", "before it is revoked"} else giver.clone()
    first, ended = giver.signer.public_key().thumbprint(), head_of(giver)
    renewed = rotate(giver, key("second key of a"))
    handover(renewed, receiver, "order-2")
    whole = revoke(renewed, COMPROMISED, ended, key=first)
    thief.decision("let go")
    thief.record(1)
    if when == "heard first":
        rogue.take(*thief.segments())
        assert sent(room, rogue, 0, giver) == []
        publish(room, whole)
    gateway.take(*renewed.segments(), *receiver.segments())
    assert sent(room, gateway, 0, renewed, receiver) == []
    if when == "before it is revoked":
        rogue.take(*thief.segments())
        assert sent(room, rogue, 0)[0][1] == "fork"
        assert room.states() == {"insufficient": 2}
    publish(room, whole)
    if when in {"beyond", "within"}:
        rogue.take(*thief.segments())
        assert sent(room, rogue, 0)[0][1] == "revoked"
    room.settle()
    assert room.rows("SELECT suspect FROM identities WHERE subject = 0") == [(None,), (None,)]
    renewed.record(2)
    gateway.take(renewed.segment(len(renewed.stretches) - 1))
    assert sent(room, gateway, len(gateway.items) - 1) == []
    assert room.rows("SELECT size FROM logs ORDER BY log")[0] == (renewed.size,)
    # The new key contradicts itself: no revocation of the old one settles that.
    again = Rotated(renewed, renewed.signer, renewed.credential)
    renewed.record(3)
    gateway.take(renewed.segment(len(renewed.stretches) - 1))
    assert sent(room, gateway, len(gateway.items) - 1) == []
    again.decision("let go")
    again.record(1)
    other = Gateway(fleet, "other")
    other.take(again.segment(len(again.stretches) - 1))
    assert sent(room, other, 0) == [(0, "fork")]
    assert ("fork",) in room.rows("SELECT suspect FROM identities WHERE subject = 0")
    renewed.credential = list(whole)
    publish(room, revoke(renewed, COMPROMISED, None, key=first))
    assert ("fork",) in room.rows("SELECT suspect FROM identities WHERE subject = 0")


def test_a_half_that_an_old_key_made_is_kept_and_is_no_fork(room: Room, fleet: Fleet) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    handover(giver, receiver, "order-1")
    thief = giver.clone()
    renewed = rotate(giver, key("second key of a"))
    renewed.record(1)
    gateway.take(*renewed.segments(), *receiver.segments())
    assert sent(room, gateway, 0, renewed, receiver) == []
    handover(thief, receiver, "order-9", sides="g")
    receiver.accept(disclose(thief, thief.size - 1).encode())
    receiver.seal()
    gateway.take(receiver.segment(len(receiver.stretches) - 1))
    assert sent(room, gateway, len(gateway.items) - 1) == []
    assert room.rows("SELECT suspect FROM identities WHERE subject = 0") == [(None,), (None,)]
    assert room.rows("SELECT fork FROM forks") == []
    assert len(room.rows("SELECT claim FROM claims")) == 3


# --- compromised: only what k validators had logged ---------------------------------------------


def told(rooms: list[Room], gateways: list[Gateway], devices: list[Device]) -> None:
    for room, gateway in zip(rooms, gateways, strict=True):
        gateway.take(*(s for device in devices for s in device.segments()))
        assert sent(room, gateway, 0, *devices) == []


def compromised(
    rooms: list[Room], fleet: Fleet, before: int, named: Head | str = "newest"
) -> tuple[Device, Device]:
    """A matched handover that `before` validators logged before the giver's key was revoked."""
    giver, receiver = fleet.device("a"), fleet.device("b")
    handover(giver, receiver, "order-1")
    gateways = [Gateway(fleet, f"gateway {n}") for n in range(len(rooms))]
    told(rooms[:before], gateways[:before], [giver, receiver])
    head = head_of(giver) if named == "newest" else named
    assert not isinstance(head, str)
    credential = revoke(giver, COMPROMISED, head)
    for room in rooms:
        publish(room, credential)
    giver.credential = credential
    told(rooms[before:], gateways[before:], [giver, receiver])
    for room in rooms:
        room.settle()
    return giver, receiver


def test_what_k_validators_had_logged_stays_and_only_that(rooms: list[Room], fleet: Fleet) -> None:
    compromised(rooms, fleet, before=2)
    assert [room.states() for room in rooms] == [
        {"matched": 1}, {"matched": 1}, {"insufficient": 1},
    ]  # fmt: skip
    assert [statuses(room) for room in rooms] == [
        {"prior", "active"}, {"prior", "active"}, {"compromised", "active"},
    ]  # fmt: skip
    # Validators that knew the same when they judged give the same finding.
    assert newest(rooms[0]).finding.encode() == newest(rooms[1]).finding.encode()
    report = verified(fleet, rooms, 2)
    assert {len(record.prior) for record in report.records if record.status == "prior"} == {2}
    assert report.party_sets[0].states == ["matched"]
    assert any("after the revocation" in why for _, why in report.not_checked)
    with pytest.raises(Unverified, match="2 of the 3"):
        verified(fleet, rooms, 3)


@pytest.mark.parametrize(("before", "at_least"), [(1, 2), (0, 1), (0, 2)])
def test_too_few_validators_had_logged_it(
    rooms: list[Room], fleet: Fleet, before: int, at_least: int
) -> None:
    compromised(rooms, fleet, before)
    with pytest.raises(Unverified) as caught:
        verified(fleet, rooms, at_least)
    assert caught.value.reason == "bad-policy"


def test_a_record_in_no_party_set_counts_by_who_had_logged_it_before(
    rooms: list[Room], fleet: Fleet
) -> None:
    giver, _ = compromised(rooms, fleet, before=1)
    files = []
    for room in rooms:
        config = room.sequencer.config
        exporter = Exporter(config.roots, room.sequencer.profiles, config.credential)
        with room.sequencer.store.read() as connection:
            data = exporter.record(connection, giver.id, giver.epoch, 0)
        files.append(evidencefile.parse(data))
    file = load_evidence(merge(files).encode())
    assert len(check(file, policy(fleet, rooms, 1), NOW_S).records) == 1
    # All three have it in their logs, and only one had it before the revocation.
    with pytest.raises(Unverified, match=r"1 of the 2 validators.*before its key was revoked"):
        check(file, policy(fleet, rooms, 2), NOW_S)


def test_beyond_the_named_head_of_a_compromised_key_nothing_stays(
    rooms: list[Room], fleet: Fleet
) -> None:
    compromised(rooms, fleet, 3, None)
    assert [room.states() for room in rooms] == [{"insufficient": 1}] * 3
    with pytest.raises(Unverified, match="is compromised"):
        verified(fleet, rooms, 1)


def test_a_file_from_before_the_revocation_counts_by_its_receipts_dates(
    rooms: list[Room], fleet: Fleet
) -> None:
    giver, receiver = fleet.device("a"), fleet.device("b")
    handover(giver, receiver, "order-1")
    told(rooms, [Gateway(fleet, f"gateway {n}") for n in range(3)], [giver, receiver])
    file = merge([exported(room) for room in rooms])

    def later(time_ms: int) -> Report:
        ended = revoke(giver, COMPROMISED, head_of(giver), time_ms=time_ms)
        others = [one for one in file.credentials if one != list(giver.credential)]
        file.credentials = [ended, *others]
        file._data = None
        return check(load_evidence(file.encode()), policy(fleet, rooms, 2), NOW_S)

    report = later(START_MS + 5_000)
    assert {record.status for record in report.records} == {"prior", "active"}
    # Stated to be earlier than the receipts: then nothing shows that it was logged before.
    with pytest.raises(Unverified, match="is compromised"):
        later(START_MS)


def test_a_validator_that_calls_prior_what_it_had_revoked_before_lies(
    rooms: list[Room], fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie = partial(_always_prior, standing.status_of)
    with monkeypatch.context() as lying:
        lying.setattr(keystatus, "status_of", lie)
        compromised(rooms, fleet, before=2)
    with pytest.raises(Unverified, match="had logged the revocation before"):
        verified(fleet, rooms, 2)


def _always_prior(original, identity, head, signer, left, *, before):  # type: ignore[no-untyped-def]
    return original(identity, head, signer, left, before=True)


def test_a_revocation_settles_what_a_fork_left_open(room: Room, fleet: Fleet) -> None:
    giver, receiver = fleet.device("a"), fleet.device("b")
    gateway, rogue = Gateway(fleet), Gateway(fleet, "rogue")
    handover(giver, receiver, "order-1")
    named = head_of(giver)
    thief = giver.clone()
    giver.record(2)
    gateway.take(*giver.segments(), *receiver.segments())
    assert sent(room, gateway, 0, giver, receiver) == []
    handover(thief, receiver, "order-9", sides="g")
    rogue.take(thief.segment(len(thief.stretches) - 1))
    assert sent(room, rogue, 0) == [(0, "fork")]
    assert room.states() == {"insufficient": 1, "pending": 1}
    file = exported(room)
    assert len(file.forks) == 1
    with pytest.raises(Unverified, match="is suspect"):
        check(load_evidence(file.encode()), policy(fleet, [room], 1), NOW_S)
    publish(room, revoke(giver, COMPROMISED, named))
    room.settle()
    assert room.states()["matched"] == 1
    report = check(load_evidence(exported(room).encode()), policy(fleet, [room], 1), NOW_S)
    assert {record.status for record in report.records} == {"prior", "active"}
    assert len(report.forks) == 1


# --- the door -----------------------------------------------------------------------------------


def test_whoever_hands_in_a_part_of_a_credential_shuts_nobody_out(room: Room, fleet: Fleet) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    handover(giver, receiver, "order-1")
    gateway.take(*giver.segments(), *receiver.segments())
    assert sent(room, gateway, 0, giver, receiver) == []
    first = giver.signer.public_key().thumbprint()
    renewed = rotate(giver, key("second key of a"))
    whole = revoke(renewed, COMPROMISED, head_of(renewed), key=first)
    enrolled, rotation, revocation = whole
    # No key is needed for this: what is signed is public, and the door is open.
    (answer,) = publish(room, [enrolled, revocation]).credentials
    assert answer.reason == "already-enrolled"
    (answer,) = publish(room, whole).credentials
    assert answer.reason is None
    (answer,) = publish(room, [enrolled, revocation, rotation]).credentials
    assert answer.reason == "already-enrolled"
    renewed.record(1)
    gateway.take(renewed.segment(len(renewed.stretches) - 1))
    assert sent(room, gateway, len(gateway.items) - 1) == []


def test_a_publication_is_logged_once_and_bad_ones_affect_no_other(
    room: Room, fleet: Fleet
) -> None:
    robot, other = fleet.device("a"), fleet.device("b")
    stranger = Fleet("globex").device("a")
    forged = [*other.credential, revoke(stranger, LOST, None)[-1]]
    answer = publish(room, revoke(robot, LOST, None), stranger.credential, forged)
    assert [one.reason for one in answer.credentials] == [None, "not-enrolled", "not-enrolled"]
    entries = len(room.rows("SELECT entry FROM entries"))
    assert publish(room, revoke(robot, LOST, None)).credentials[0] == answer.credentials[0]
    assert len(room.rows("SELECT entry FROM entries")) == entries
    digest = keychange.parse(revoke(robot, LOST, None)[-1]).digest
    assert answer.credentials[0].digest == b64u(digest)


def test_a_publication_is_bounded() -> None:
    robot = Fleet("acme").device("a")
    with pytest.raises(TallyError):
        publication.parse(publication.encode([list(robot.credential)] * 65))
    with pytest.raises(TallyError):
        publication.parse(cbor.encode([]))
    with pytest.raises(TallyError):
        publication.parse(b"\x81" + cbor.encode([bytes(1 << 20)]))


def taken(pace: publication.Pace, address: str, most: int = 100) -> int:
    for count in range(most):
        try:
            pace.take(address)
        except Problem:
            return count
    return most


def test_a_flood_of_publications_keeps_nobody_else_out() -> None:
    pace = publication.Pace()
    assert taken(pace, "192.0.2.1") == 16
    # One network, however many addresses it has.
    assert taken(pace, "2001:db8::1", 5) == 5
    assert taken(pace, "2001:db8::ffff:1") == 11
    assert taken(pace, "192.0.2.2") == 0
    pace = publication.Pace()
    for number in range(5_000):
        taken(pace, f"10.0.{number >> 8}.{number & 255}", 1)
    assert len(pace._senders) == 4_096


def test_a_dead_chips_device_is_replaced_by_a_new_id(room: Room, fleet: Fleet) -> None:
    old, new, gateway = fleet.device("a"), fleet.device("a2"), Gateway(fleet)
    old.record(2)
    new.credential = replaced(old, new)
    new.record(1)
    gateway.take(*old.segments(), *new.segments())
    assert sent(room, gateway, 0, old, new) == []
    assert len(room.rows("SELECT entry FROM entries WHERE kind = 7")) == 1


# --- gateways ---------------------------------------------------------------------------------


def test_a_gateway_goes_on_under_its_new_key_and_not_under_the_old_one(
    room: Room, fleet: Fleet
) -> None:
    device, gateway = fleet.device(), Gateway(fleet)
    device.record(2)
    gateway.take(device.segment())
    assert sent(room, gateway, 0, device) == []
    old, new = gateway.signer, key("second key of the gateway")
    made = keychange.rotate(old, new, fleet.name, gateway.id, 0, [], None, WALL_MS)
    id_ = gateway.id
    gateway.credential = [*gateway.credential, made.sign(fleet.root, fleet.name, id_)]
    device.record(1)
    gateway.take(device.segment(1))
    gateway.signer = new
    gateway.named = id_
    assert sent(room, gateway, 1) == []
    device.record(1)
    gateway.take(device.segment(2))
    gateway.signer = old
    with pytest.raises(TallyError) as caught:
        sent(room, gateway, 2)
    assert caught.value.reason == "revoked"
    gateway.signer = new
    assert sent(room, gateway, 2) == []
    assert VALID_S[0] < time.time() < VALID_S[1]
