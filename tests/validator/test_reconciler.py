"""Findings as they become due: matched at once, closed in time, silent or unheard, late."""

from pathlib import Path

import pytest
from sqlalchemy.dialects import sqlite

from support.devices import Device, Fleet
from support.keychanges import last_change
from support.story import disclose
from support.validating import HANDOVER, START_MS, Gateway, Room, handover
from tallystick.evidence import entry, verdict
from tallystick.evidence.ids import claim_reference
from tallystick.evidence.keychange import COMPROMISED, RETIRED, Revocation
from tallystick.evidence.kinds import CLOSING, VERDICT

pytestmark = pytest.mark.databases
DEADLINE_MS = HANDOVER.deadline_ms
SQLITE = sqlite.dialect()


def verdicts(room: Room) -> list[verdict.Verdict]:
    rows = room.rows(f"SELECT data FROM entries WHERE kind = {VERDICT} ORDER BY entry")
    key = room.sequencer.keys.signer.public_key()
    return [verdict.parse(row[0]).verify(key) for row in rows]


def test_matched_and_conflicting_need_no_closing(room: Room, fleet: Fleet) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    handover(giver, receiver, "order-1")
    handover(giver, receiver, "order-2", received_x=9)
    gateway.take(*giver.segments(), *receiver.segments())
    room.send(gateway.batch(devices=[giver, receiver]))
    room.settle()
    assert room.states() == {"matched": 1, "conflicting": 1}
    room.clock.now_ms += 2 * DEADLINE_MS
    room.settle()
    assert room.rows(f"SELECT count(*) FROM entries WHERE kind = {CLOSING}") == [(0,)]
    found = verdicts(room)
    assert sorted(one.finding.state for one in found) == ["conflicting", "matched"]
    assert all(one.supersedes is None and one.uninvited == [] for one in found)


def test_the_same_finding_is_not_signed_twice(room: Room, fleet: Fleet) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    handover(giver, receiver, "order-1")
    gateway.take(*giver.segments(), *receiver.segments())
    room.send(gateway.batch(devices=[giver, receiver]))
    room.settle()
    with room.sequencer.store.write() as connection:
        connection.exec_driver_sql("UPDATE party_sets SET dirty = true")
    room.settle()
    assert len(verdicts(room)) == 1


def test_a_lonely_claim_is_closed_by_log_time_and_only_then(room: Room, fleet: Fleet) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    handover(giver, receiver, "order-1", sides="g")
    gateway.take(giver.segment())
    room.send(gateway.batch(devices=[giver, receiver]))
    room.settle()
    assert room.states() == {"pending": 1}
    assert verdicts(room) == []
    room.clock.now_ms += DEADLINE_MS - 1
    room.settle()
    assert room.states() == {"pending": 1}
    room.clock.now_ms += 1
    room.settle()
    assert room.states() == {"one_sided": 1}
    (found,) = verdicts(room)
    ((role, device, claim, absence),) = [tuple(row) for row in found.finding.missing]
    assert (role, device, claim, absence) == ("receiver", receiver.id, "acquired", "unheard")
    ((at, data, time_ms),) = room.rows(
        f"SELECT entry, data, time_ms FROM entries WHERE kind = {CLOSING}"
    )
    closing = entry.parse_entry(data)
    assert isinstance(closing, entry.Closing)
    ((first_ms,),) = room.rows(f"SELECT time_ms FROM entries WHERE entry = {closing.first}")
    assert time_ms >= first_ms + closing.deadline_ms
    assert at < found.size


def test_a_late_claim_gives_a_new_verdict(room: Room, fleet: Fleet) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    handover(giver, receiver, "order-1")
    gateway.take(giver.segment())
    room.send(gateway.batch(devices=[giver, receiver]))
    room.clock.now_ms += DEADLINE_MS
    room.settle()
    gateway.take(receiver.segment())
    room.send(gateway.batch(1))
    room.settle()
    one, two = verdicts(room)
    assert (one.finding.state, two.finding.state) == ("one_sided", "matched")
    assert two.supersedes == one.digest


def test_silence_needs_a_logged_checkpoint_that_names_custody_after_the_deadline(
    room: Room, fleet: Fleet
) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    handover(giver, receiver, "order-1", sides="g")
    receiver.record(2)
    before = gateway.custody(receiver, START_MS + DEADLINE_MS)
    receiver.seal()
    gateway.take(giver.segment(), *receiver.segments())
    room.send(gateway.batch(devices=[giver, receiver], receipts=[before]))
    room.clock.now_ms += DEADLINE_MS
    room.settle()
    assert [one.finding.missing[0][3] for one in verdicts(room)] == ["unheard"]
    after = gateway.custody(receiver, START_MS + DEADLINE_MS + 1)
    receiver.seal()
    gateway.take(receiver.segment(2))
    room.send(gateway.batch(3, receipts=[after]))
    room.settle()
    one, two = verdicts(room)
    assert [v.finding.missing[0][3] for v in (one, two)] == ["unheard", "silent"]
    assert two.supersedes == one.digest
    # A later checkpoint changes nothing.
    later = gateway.custody(receiver, START_MS + 2 * DEADLINE_MS)
    receiver.seal()
    gateway.take(receiver.segment(3))
    room.send(gateway.batch(4, receipts=[later]))
    room.settle()
    assert len(verdicts(room)) == 2


def test_a_log_with_claims_that_are_not_held_is_unheard_not_silent(
    room: Room, fleet: Fleet
) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    handover(giver, receiver, "order-1")
    after = gateway.custody(receiver, START_MS + DEADLINE_MS + 5)
    receiver.seal()
    gateway.take(giver.segment(), receiver.segment(elide=True))
    room.send(gateway.batch(devices=[giver, receiver], receipts=[after]))
    room.clock.now_ms += DEADLINE_MS
    room.settle()
    assert [one.finding.missing[0][3] for one in verdicts(room)] == ["unheard"]


def test_evidence_that_came_before_the_closing_counts(room: Room, fleet: Fleet) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    handover(giver, receiver, "order-1", sides="g")
    receiver.record(2)
    after = gateway.custody(receiver, START_MS + DEADLINE_MS + 5)
    receiver.seal()
    gateway.take(giver.segment(), *receiver.segments())
    room.send(gateway.batch(0, 1, devices=[giver]))
    room.clock.now_ms += DEADLINE_MS
    room.send(gateway.batch(1, devices=[receiver], receipts=[after]))
    room.settle()
    assert verdicts(room)[-1].finding.missing[0][3] == "silent"


def test_a_strangers_party_map_is_uninvited_and_changes_nothing(room: Room, fleet: Fleet) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    stranger = Fleet("borealis").device("s")
    handover(giver, receiver, "order-1")
    gateway.take(*giver.segments(), *receiver.segments())
    room.send(gateway.batch(devices=[giver, receiver]))
    room.settle()
    handover(stranger, receiver, "order-1", x=9, sides="g")
    gateway.take(stranger.segment())
    room.send(gateway.batch(2, devices=[stranger]))
    room.settle()
    assert room.states() == {"matched": 1, "pending": 1}
    assert len(verdicts(room)) == 1
    room.clock.now_ms += DEADLINE_MS
    room.settle()
    lonely = verdicts(room)[-1]
    assert lonely.finding.state == "one_sided"
    assert len(lonely.uninvited) == 1


def test_one_device_in_two_maps_contradicts_itself(room: Room, fleet: Fleet) -> None:
    giver, gateway = fleet.device("a"), Gateway(fleet)
    receiver, second = fleet.device("b"), fleet.device("c")
    handover(giver, receiver, "order-1")
    gateway.take(*giver.segments(), *receiver.segments())
    room.send(gateway.batch(devices=[giver, receiver, second]))
    room.settle()
    handover(giver, second, "order-1", x=5, sides="g")
    gateway.take(giver.segment(1))
    room.send(gateway.batch(2))
    room.settle()
    found = verdicts(room)
    assert [one.finding.state for one in found] == ["matched", "conflicting"]
    assert found[-1].finding.checks[0].blamed == [giver.id]


def test_a_fork_makes_findings_again_with_a_suspect_key(room: Room, fleet: Fleet) -> None:
    giver, receiver = fleet.device("a"), fleet.device("b")
    one, two = Gateway(fleet, "one"), Gateway(fleet, "two")
    clone = giver.clone()
    handover(giver, receiver, "order-1")
    one.take(*giver.segments(), *receiver.segments())
    room.send(one.batch(devices=[giver, receiver]))
    room.settle()
    clone.uptime_ms += 500
    handover(clone, receiver, "order-1", x=7, sides="g")
    two.take(clone.segment())
    assert room.send(two.batch()).refused == [(0, "fork")]
    room.settle()
    found = verdicts(room)
    assert [one.finding.state for one in found] == ["matched", "insufficient"]
    assert len(room.rows("SELECT claim FROM claims")) == 3


def test_a_revocation_makes_findings_again(room: Room, fleet: Fleet) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    handover(giver, receiver, "order-1")
    gateway.take(*giver.segments(), *receiver.segments())
    room.send(gateway.batch(devices=[giver, receiver]))
    room.settle()
    # Retired at its newest head: what it covered stays good, and what comes after is refused.
    head = [giver.epoch, giver.size, giver.root]
    key = giver.signer.public_key().thumbprint()
    retired = Revocation(giver.id, key, head, RETIRED, START_MS).sign(
        fleet.root, fleet.name, giver.id
    )
    giver.credential.append(retired)
    giver.record(1)
    gateway.take(giver.segment(1))
    assert room.send(gateway.batch(2, devices=[giver])).refused == [(2, "revoked")]
    room.settle()
    assert room.states() == {"matched": 1}
    compromised = Revocation(
        giver.id, key, None, COMPROMISED, START_MS, last_change(giver.credential)
    ).sign(fleet.root, fleet.name, giver.id)
    giver.credential.append(compromised)
    gateway.take(giver.segment(0, 1))
    room.send(gateway.batch(3, devices=[giver]))
    room.settle()
    assert room.states() == {"insufficient": 1}
    states = [one.finding.state for one in verdicts(room)]
    assert (states[0], states[-1]) == ("matched", "insufficient")
    # An older credential that comes again takes nothing back.
    giver.credential = giver.credential[:1]
    gateway.take(giver.segment(0, 1))
    room.send(gateway.batch(4, devices=[giver]))
    room.settle()
    assert room.states() == {"insufficient": 1}


def test_an_enrolment_that_has_expired_takes_no_more(room: Room, fleet: Fleet) -> None:
    device, gateway = fleet.device(), Gateway(fleet)
    device.credential = fleet.enrol(device.signer, valid_s=(1_600_000_000, START_MS // 1000 + 5))
    device.record(1)
    gateway.take(device.segment())
    assert room.send(gateway.batch(devices=[device])).refused == []
    room.clock.now_ms += 6000
    device.record(1)
    gateway.take(device.segment(1))
    assert room.send(gateway.batch(1)).refused == [(1, "expired")]


def test_a_profile_that_comes_later_makes_the_finding(room: Room, fleet: Fleet) -> None:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    profile = room.folder / "profiles" / "handover.toml"
    text = profile.read_text()
    room.close()
    profile.unlink()
    room.open()
    handover(giver, receiver, "order-1")
    gateway.take(*giver.segments(), *receiver.segments())
    room.send(gateway.batch(devices=[giver, receiver]))
    room.settle()
    assert room.states() == {"insufficient": 1}
    room.close()
    profile.write_text(text)
    room.open()
    room.settle()
    assert room.states() == {"matched": 1}
    assert [one.finding.state for one in verdicts(room)] == ["insufficient", "matched"]


def test_a_leafs_device_that_contradicts_itself_changes_what_relied_on_it(
    room: Room, fleet: Fleet
) -> None:
    hashes, other = Gateway(fleet, "hashes"), Gateway(fleet, "other")
    giver, receiver = _relying(fleet)
    clone = giver.clone()
    giver.record(1)
    clone.uptime_ms += 500
    clone.record(1)
    hashes.take(giver.segment(elide=True), receiver.segment())
    room.send(hashes.batch(devices=[giver, receiver]))
    room.settle()
    other.take(clone.segment(1))
    assert room.send(other.batch()).refused == [(0, "fork")]
    room.settle()
    one, two = verdicts(room)
    assert one.finding.inputs != two.finding.inputs
    assert two.supersedes == one.digest


def test_what_is_due_is_found_by_index_whatever_is_open(tmp_path: Path, fleet: Fleet) -> None:
    from tallystick.validator import reconciler

    # In SQLite's words; PostgreSQL's plans are read in test_postgresql.py.
    room = Room(tmp_path / "validator", [fleet])
    for query in (reconciler.DIRTY, reconciler.LATE):
        given = query.limit(5).params(now_ms=5)
        text = str(given.compile(compile_kwargs={"literal_binds": True}, dialect=SQLITE))
        plan = room.rows("EXPLAIN QUERY PLAN " + text)
        assert all("USING" in row[3] and "INDEX" in row[3] for row in plan), plan
        assert not any("TEMP B-TREE" in row[3] for row in plan), plan
    room.close()


def _relying(fleet: Fleet) -> tuple[Device, Device]:
    giver, receiver = fleet.device("a"), fleet.device("b")
    handover(giver, receiver, "order-1", sides="g")
    parties = {"giver": [giver.id], "receiver": [receiver.id]}
    reference = claim_reference(giver.id, giver.epoch, 1, giver.leaves[1])
    receiver.claim(
        "order-1", "receiver", "acquired", parties, HANDOVER.digest, relied=[reference],
        item="box", position_m=[1, 2],
    )  # fmt: skip
    receiver.seal()
    return giver, receiver


def test_a_claim_that_is_known_by_its_leaf_is_insufficient_until_its_body_comes(
    room: Room, fleet: Fleet
) -> None:
    hashes, bodies = Gateway(fleet, "hashes"), Gateway(fleet, "bodies")
    giver, receiver = _relying(fleet)
    # Either order of arrival: the leaf first here, the relying claim first below.
    hashes.take(giver.segment(elide=True), receiver.segment())
    room.send(hashes.batch(devices=[giver, receiver]))
    room.settle()
    assert room.states() == {"insufficient": 1}
    bodies.take(giver.segment())
    room.send(bodies.batch())
    room.settle()
    assert room.states() == {"matched": 1}
    assert [one.finding.state for one in verdicts(room)] == ["insufficient", "matched"]


def test_a_leaf_that_comes_after_the_claim_that_relied_on_it(room: Room, fleet: Fleet) -> None:
    hashes = Gateway(fleet, "hashes")
    giver, receiver = _relying(fleet)
    hashes.take(receiver.segment(), giver.segment(elide=True))
    room.send(hashes.batch(0, 1, devices=[giver, receiver]))
    room.settle()
    assert room.states() == {"pending": 1}
    room.send(hashes.batch(1))
    room.settle()
    assert room.states() == {"insufficient": 1}
    # An accepted half brings the body as well as the maker's own uplink would.
    receiver.accept(disclose(giver, 1, embed=True).encode())
    receiver.seal()
    hashes.take(receiver.segment(1))
    room.send(hashes.batch(2))
    room.settle()
    assert room.states() == {"matched": 1}
