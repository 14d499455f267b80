"""A batch in, an answer out: receipts, continuity, duplicates, joins in the middle, bodies."""

import pytest

from support.devices import Device, Fleet
from support.validating import HANDOVER, START_MS, Gateway, Room, handover
from tallystick.evidence import cbor, checkpoint, note, receipt, segment
from tallystick.evidence.errors import Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.proof import verify_consistency
from tallystick.validator.problem import Problem

pytestmark = pytest.mark.databases


def receipt_key(room: Room) -> PublicKey:
    return room.sequencer.keys.signer.public_key()


def counts(room: Room) -> tuple[int, ...]:
    return room.rows("SELECT decisions, claims, events, halves FROM identities WHERE subject = 0")[
        0
    ]


def test_a_batch_is_logged_and_receipted(room: Room, fleet: Fleet) -> None:
    device, gateway = fleet.device(), Gateway(fleet)
    device.record(10)
    device.record(5)
    gateway.take(*device.segments())
    answer = room.send(gateway.batch(devices=[device]))
    assert answer.size == 2
    assert answer.refused == []
    published = note.parse(room.sequencer.log.head.note)  # type: ignore[union-attr]  # published
    found = dict(answer.receipts)
    for sealed in device.stretches:
        head = checkpoint.parse(sealed.checkpoint)
        verified = receipt.parse(found[head.digest]).verify(sealed.checkpoint, receipt_key(room))
        assert (verified.size, verified.root) == (published.size, published.root)
    assert counts(room) == (15, 0, 1, 0)


def test_the_same_batch_gives_the_same_answer(room: Room, fleet: Fleet) -> None:
    device, gateway = fleet.device(), Gateway(fleet)
    device.record(3)
    gateway.take(device.segment())
    data = gateway.batch(devices=[device])
    first = room.send(data)
    size = room.sequencer.log.tree.size
    device.record(3)
    gateway.take(device.segment(1))
    room.send(gateway.batch(1))
    assert room.send(data) == first
    # After a restart too, and when a batch is made anew of the same items.
    room.close()
    room.open()
    assert room.send(data) == first
    gateway.time_ms += 1
    again = room.send(gateway.batch(0, 1, devices=[device]))
    assert dict(again.receipts) == dict(first.receipts)
    assert again.size == 2
    assert room.sequencer.log.tree.size == size + 3  # a checkpoint between two times
    assert counts(room) == (6, 0, 1, 0)


def test_a_batch_beyond_the_known_log_is_told_where_to_begin(room: Room, fleet: Fleet) -> None:
    device, gateway = fleet.device(), Gateway(fleet)
    for _ in range(4):
        device.record(2)
    gateway.take(*device.segments())
    room.send(gateway.batch(0, 1, devices=[device]))
    with pytest.raises(Problem) as error:
        room.send(gateway.batch(2, 4))
    assert (error.value.reason, error.value.status, error.value.size) == ("gateway-gap", 409, 1)
    assert room.send(gateway.batch(1, 4)).size == 4


def test_a_gateway_that_tells_another_story_is_kept_with_its_proof(
    room: Room, fleet: Fleet
) -> None:
    device, gateway, other = fleet.device(), Gateway(fleet), Gateway(fleet)
    for _ in range(3):
        device.record(2)
    gateway.take(*device.segments())
    room.send(gateway.batch(0, 2, devices=[device]))
    other.take(device.segment(0, 2), device.segment(2, 3), device.segment(0, 1))
    with pytest.raises(Problem) as error:
        room.send(other.batch(0, 3))
    assert (error.value.reason, error.value.status, error.value.size) == ("gateway-fork", 409, 2)
    ((reason, ours, theirs, proof),) = room.rows("SELECT reason, ours, theirs, proof FROM forks")
    assert reason == "gateway-fork"
    assert ours
    assert theirs
    assert proof
    assert room.rows("SELECT suspect FROM identities WHERE subject = 1") == [("gateway-fork",)]
    # It goes on where it told the truth.
    assert room.send(gateway.batch(2, 3)).size == 3


def test_one_bad_segment_among_many_affects_no_other(room: Room, fleet: Fleet) -> None:
    device, stranger, gateway = fleet.device(), Fleet("nobody").device(), Gateway(fleet)
    for _ in range(30):
        device.record(2)
    stranger.record(2)
    segments = device.segments()
    parsed = segment.parse(segments[10])
    flipped = bytearray(segments[10])
    flipped[segments[10].index(parsed.stretches[0].items[0]) + 3] ^= 1  # type: ignore[arg-type]  # a record
    gateway.take(*segments[:10], stranger.segment(), bytes(flipped), *segments[10:])
    answer = room.send(gateway.batch(devices=[device]))
    assert answer.refused == [(10, "unknown-device"), (11, "bad-root")]
    assert counts(room)[0] == 60
    refused = dict(room.rows('SELECT reason, "count" FROM refusals'))
    assert refused == {"unknown-device": 1, "bad-root": 1}


def test_a_gateway_that_nobody_enrolled_is_refused_before_any_signature(
    room: Room, fleet: Fleet
) -> None:
    device, gateway = fleet.device(), Gateway(Fleet("nobody"))
    device.record(2)
    gateway.take(device.segment())
    with pytest.raises(Unverified) as error:
        room.send(gateway.batch(own=False))
    assert error.value.reason == "unknown-device"
    with pytest.raises(Unverified) as error:
        room.send(gateway.batch())
    assert error.value.reason == "not-enrolled"
    # A device's key is no gateway's.
    known = Gateway(fleet)
    known.signer, known.credential = device.signer, device.credential
    known.take(device.segment())
    with pytest.raises(Unverified) as error:
        room.send(known.batch(devices=[device]))
    assert error.value.reason == "not-enrolled"


def test_joining_in_the_middle_says_where_knowledge_begins(room: Room, fleet: Fleet) -> None:
    device, gateway, late = fleet.device(), Gateway(fleet), Gateway(fleet, "late")
    for _ in range(6):
        device.record(4)
    gateway.take(device.segment(2, 4))
    answer = room.send(gateway.batch(devices=[device]))
    assert answer.refused == [(0, "no-history")]
    gateway.take(device.segment(2, 4, edge=True))
    assert room.send(gateway.batch(1)).refused == []
    assert room.rows("SELECT size, began, covered FROM logs") == [(17, 9, 8)]
    # Another gateway brings what came before, and a part that overlaps.
    late.take(device.segment(1, 3, edge=True), device.segment(0, 1), device.segment(3, 6))
    assert room.send(late.batch()).refused == []
    assert room.rows("SELECT size, began, covered FROM logs") == [(25, 0, 25)]
    assert counts(room)[0] == 24


def test_hashes_first_and_bodies_later(room: Room, fleet: Fleet) -> None:
    giver, receiver = fleet.device("a"), fleet.device("b")
    hashes, bodies = Gateway(fleet, "hashes"), Gateway(fleet, "bodies")
    giver.record(3)
    handover(giver, receiver, "order-1")
    hashes.take(giver.segment(elide=True))
    room.send(hashes.batch(devices=[giver, receiver]))
    assert counts(room) == (0, 0, 0, 0)
    bodies.take(giver.segment(), receiver.segment())
    room.send(bodies.batch())
    room.settle()
    assert sorted(room.rows("SELECT decisions, claims FROM identities WHERE subject = 0")) == [
        (0, 1),
        (3, 1),
    ]
    assert room.states() == {"matched": 1}
    assert room.rows("SELECT DISTINCT claims FROM logs") == [(1,)]


def test_an_accepted_half_brings_the_claim_of_a_silent_uplink(room: Room, fleet: Fleet) -> None:
    from support.story import disclose

    giver, receiver = fleet.device("a"), fleet.device("b")
    gateway, own = Gateway(fleet), Gateway(fleet, "own")
    handover(giver, receiver, "order-1", sides="g")
    half = disclose(giver, 1, embed=True)
    receiver.accept(half.encode())
    handover(giver, receiver, "order-1", sides="r")
    gateway.take(receiver.segment())
    assert room.send(gateway.batch(devices=[receiver])).refused == []
    room.settle()
    assert room.states() == {"matched": 1}
    assert room.rows("SELECT size, claims, ahead, heads_ahead FROM logs ORDER BY log") == [
        (3, 1, 0, 0),
        (0, 0, 1, 1),
    ]
    # The giver's own uplink comes later: the claim is logged once, and now counted as its own.
    logged = room.rows("SELECT count(*) FROM claims")
    own.take(giver.segment())
    room.send(own.batch())
    assert room.rows("SELECT count(*) FROM claims") == logged
    assert room.rows("SELECT size, claims, ahead, heads_ahead FROM logs ORDER BY log") == [
        (3, 1, 0, 0),
        (2, 1, 0, 0),
    ]


def test_bad_bodies_are_counted_and_the_log_goes_on(room: Room, fleet: Fleet) -> None:
    device, gateway = fleet.device(), Gateway(fleet)
    device.record(1)
    device._add(b"\x8c\x01\x00")  # a claim's head, and nothing else
    device._add(b"\x83\x03\x00\x41\x00")  # an accepted half of one byte
    device._add(b"\x84\x02\x00\x63abc\xa0")  # an event that nobody defined
    device._add(b"\xff")
    device.claim("t", "giver", "released", {"giver": [bytes(32)]}, HANDOVER.digest)
    device.claims += 1
    device.seal()
    device.record(1)
    gateway.take(*device.segments())
    answer = room.send(gateway.batch(devices=[device]))
    assert answer.refused == []
    reasons = room.rows("SELECT at, reason FROM refused_records ORDER BY at")
    assert [at for at, _ in reasons] == [2, 3, 4, 5, 6]
    assert reasons[4][1] == "not-a-party"
    assert counts(room) == (2, 0, 1, 0)
    assert room.rows("SELECT refused FROM identities WHERE subject = 0") == [(5,)]


def test_custody_receipts_are_logged_when_named_and_missed_when_not(
    room: Room, fleet: Fleet
) -> None:
    device, gateway = fleet.device(), Gateway(fleet)
    device.record(2)
    first = gateway.custody(device, START_MS + 5)
    device.record(2)
    second = gateway.custody(device, START_MS + 9)
    device.record(2)
    gateway.take(*device.segments())
    unnamed = gateway.custody(device, START_MS + 20)
    room.send(gateway.batch(0, 3, devices=[device], receipts=[first, unnamed, b"junk"]))
    assert [row[0] for row in room.rows("SELECT time_ms FROM custody")] == [START_MS + 5]
    assert room.rows("SELECT reason FROM custody_missing") == [("not-sent",)]
    device.record(2)
    gateway.take(device.segment(3))
    room.send(gateway.batch(3, receipts=[second, unnamed]))
    assert len(room.rows("SELECT time_ms FROM custody")) == 3
    assert room.rows("SELECT reason FROM custody_missing") == []


def test_a_fork_is_kept_with_both_branches(room: Room, fleet: Fleet) -> None:
    device = fleet.device()
    one, two = Gateway(fleet, "one"), Gateway(fleet, "two")
    device.record(5)
    clone = device.clone()
    device.record(7)
    clone.decision("let go")
    clone.record(2)
    one.take(*device.segments())
    room.send(one.batch(devices=[device]))
    two.take(clone.segment(1, 2))
    assert room.send(two.batch()).refused == [(0, "fork")]
    assert room.rows("SELECT suspect FROM identities WHERE subject = 0") == [("fork",)]
    ((ours, theirs, proof),) = room.rows("SELECT ours, theirs, proof FROM forks")
    assert checkpoint.parse(ours).size == 13
    assert checkpoint.parse(theirs).size == 9
    m, n, root_m, path = cbor.decode(proof)
    # In the branch of the larger head the root at m is another one than the signed one at m.
    assert (m, n) == (checkpoint.parse(theirs).size, checkpoint.parse(ours).size)
    verify_consistency(m, root_m, n, checkpoint.parse(ours).root, path)
    assert root_m != checkpoint.parse(theirs).root
    logged = [row[0] for row in room.rows("SELECT digest FROM entries WHERE kind = 4")]
    assert checkpoint.parse(clone.stretches[1].checkpoint).digest in logged
    # The honest branch goes on, and the same fork is kept once.
    device.record(1)
    one.take(device.segment(2))
    assert room.send(one.batch(2)).refused == []
    two.take(clone.segment(0, 2))
    assert room.send(two.batch(1)).refused == [(1, "fork")]
    assert len(room.rows("SELECT fork FROM forks")) == 1


def test_a_left_epoch_is_frozen_and_its_device_not_suspect(room: Room, fleet: Fleet) -> None:
    device, gateway = fleet.device(), Gateway(fleet)
    device.record(3)
    after = device.new_epoch(b"epoch--2")
    after.record(2)
    gateway.take(device.segment(), after.segment())
    assert room.send(gateway.batch(devices=[device])).refused == []
    assert room.rows("SELECT frozen_at FROM logs ORDER BY log") == [(4,), (None,)]
    assert room.rows("SELECT suspect FROM identities WHERE subject = 0") == [(None,)]
    # Its end was held back: nothing shows that it was signed after the next epoch had begun.
    device.record(1)
    gateway.take(device.segment(1))
    assert room.send(gateway.batch(2)).refused == []
    assert room.rows("SELECT frozen_at, size FROM logs ORDER BY log")[0] == (5, 5)
    assert room.rows("SELECT suspect FROM identities WHERE subject = 0") == [(None,)]


def test_a_left_epoch_that_names_custody_of_a_later_one_makes_its_device_suspect(
    room: Room, fleet: Fleet
) -> None:
    device, gateway = fleet.device(), Gateway(fleet)
    device.record(3)
    after = device.new_epoch(b"epoch--2")
    after.record(2)
    gateway.take(device.segment(), after.segment())
    assert room.send(gateway.batch(devices=[device])).refused == []
    receipt = gateway.custody(after, START_MS)
    device.custody = after.custody
    device.record(1)
    gateway.take(device.segment(1))
    assert room.send(gateway.batch(2, receipts=[receipt])).refused == [(2, "frozen-epoch")]
    assert room.rows("SELECT suspect FROM identities WHERE subject = 0") == [("frozen-epoch",)]


def test_a_left_epoch_whose_counter_is_ahead_makes_its_device_suspect(
    room: Room, fleet: Fleet
) -> None:
    device, gateway = fleet.device(), Gateway(fleet)
    device.counter = 7
    device.record(3)
    after = device.new_epoch(b"epoch--2")
    after.counter = 8
    after.record(2)
    device.counter = 8
    device.record(1)
    # In any order, and equal counters show nothing.
    gateway.take(device.segment(), after.segment())
    assert room.send(gateway.batch(devices=[device])).refused == []
    assert room.rows("SELECT suspect FROM identities WHERE subject = 0") == [(None,)]
    device.counter = 9
    device.record(1)
    gateway.take(device.segment(2))
    assert room.send(gateway.batch(2)).refused == [(2, "frozen-epoch")]
    assert room.rows("SELECT suspect FROM identities WHERE subject = 0") == [("frozen-epoch",)]


def test_an_idle_device_repeats_its_head_in_any_order(room: Room, fleet: Fleet) -> None:
    device, gateway = fleet.device(), Gateway(fleet)
    device.record(3)
    for _ in range(3):
        device.seal()
    segments = device.segments()
    gateway.take(segments[0], segments[3], segments[1], segments[2], segments[1])
    answer = room.send(gateway.batch(devices=[device]))
    assert answer.refused == []
    assert len(room.rows("SELECT digest FROM checkpoints")) == 4


def test_a_key_belongs_to_one_id(room: Room, fleet: Fleet) -> None:
    device: Device = fleet.device()
    gateway = Gateway(fleet)
    device.record(1)
    gateway.take(device.segment())
    room.send(gateway.batch(devices=[device]))
    other = Fleet("borealis")
    twice = other.enrol(device.signer)
    device.record(1)
    gateway.take(device.segment(1))
    device.credential = twice
    assert room.send(gateway.batch(1, devices=[device])).refused == []
    assert ("already-enrolled", 1) in room.rows('SELECT reason, "count" FROM refusals')
