"""A17 offline: of a compromised key only what a path to the named head shows (protocol.md, 5.2)."""

import pytest

from support.devices import Device, Fleet
from support.keychanges import Head, head_of, revoke
from support.story import disclose
from support.validating import HANDOVER, START_MS, Gateway, Room, handover
from tallystick.evidence import checkpoint, evidencefile, tree
from tallystick.evidence.credential import Credential
from tallystick.evidence.errors import Unverified
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.half import Half
from tallystick.evidence.ids import interaction_id
from tallystick.evidence.keychange import COMPROMISED
from tallystick.evidence.keys import b64u
from tallystick.evidence.note import NoteKey
from tallystick.evidence.root import format_root
from tallystick.tools.export import merge
from tallystick.validator.evidence import Exporter
from tallystick.verify import Report, check, check_evidence, load_evidence
from tallystick.verify.policy import Policy, parse_policy

NOW_S = START_MS // 1000 + 3600


def sent(room: Room, fleet: Fleet, name: str, *devices: Device, end: int | None = None) -> None:
    gateway = Gateway(fleet, name)
    gateway.take(*(one for device in devices for one in device.segments()[:end]))
    room.send(gateway.batch(devices=list(devices)))
    room.settle()


def compromise(room: Room, device: Device, named: Head) -> None:
    credential = Credential(list(revoke(device, COMPROMISED, named)))
    room.sequencer.ingest.publish([credential])
    room.settle()


def exporter(room: Room) -> Exporter:
    config = room.sequencer.config
    return Exporter(config.roots, room.sequencer.profiles, config.credential)


def disclosed(room: Room, device: Device, index: int) -> EvidenceFile:
    with room.sequencer.store.read() as connection:
        data = exporter(room).record(connection, device.id, device.epoch, index)
    return evidencefile.parse(data)


def policy(fleet: Fleet, room: Room) -> Policy:
    keys = room.sequencer.keys
    return parse_policy(
        f'roots = ["{fleet.root_line}"]\n'
        '[devices]\ncustody = "software"\n'
        f'[profiles]\ndigests = ["{b64u(HANDOVER.digest)}"]\n'
        "[validators]\nat_least = 1\n"
        f'[[validators.accept]]\norganisation = "{keys.name}"\n'
        f'key = "{format_root(keys.name, keys.signer.public_key())}"\n'
        f'note_key = "{NoteKey(keys.origin, keys.notes.public_key()).text()}"\n'
    )


def reread(file: EvidenceFile) -> EvidenceFile:
    file._data = None
    return load_evidence(file.encode())


def stays(room: Room, fleet: Fleet, file: EvidenceFile) -> Report:
    report = check(reread(file), policy(fleet, room), NOW_S)
    ended = [record for record in report.records if record.status != "active"]
    assert ended
    assert {(record.status, len(record.prior)) for record in ended} == {("prior", 1)}
    return report


def refused(room: Room, fleet: Fleet, file: EvidenceFile, *, listed_late: bool = False) -> None:
    with pytest.raises(Unverified, match="is compromised"):
        check(reread(file), policy(fleet, room), NOW_S)
    report = check_evidence(reread(file), policy(fleet, room), NOW_S)
    ended = [record for record in report.records if record.status != "active"]
    assert {record.status for record in ended} == {"compromised"}
    left = [what for what, _ in report.not_checked]
    for name in (record.name for record in ended):
        late = f"that {name} was logged before its key was revoked as compromised"
        branch = f"that {name} is in the prefix of the head that its key's revocation names"
        assert (late if listed_late else branch) in left


def under(device: Device, index: int, number: int) -> Half:
    """The record at an index under the checkpoint of a later stretch."""
    sealed = device.stretches[number]
    first = disclose(device, index)
    path = tree.inclusion_path(device.leaves, index, sealed.to)
    return Half(first.record, first.salt, index, path, sealed.checkpoint, first.credential)


@pytest.mark.parametrize("count", [2, 9])
@pytest.mark.parametrize("heard", ["the thief only", "the thief first", "the owner first"])
def test_a_thiefs_record_below_the_named_head_does_not_stay(
    room: Room, fleet: Fleet, heard: str, count: int
) -> None:
    giver = fleet.device("a")
    giver.record(3)
    thief = giver.clone()
    giver.record(9)
    thief.decision("let go")
    thief.record(count - 1)
    order = {"the thief only": [thief], "the thief first": [thief, giver]}.get(
        heard, [giver, thief]
    )
    for number, device in enumerate(order):
        sent(room, fleet, f"gateway {number}", device)
    compromise(room, giver, head_of(giver))
    if heard == "the owner first":
        # The log here is the owner's, so this is what it gives; the thief's is not disclosed.
        stays(room, fleet, disclosed(room, giver, 4))
        return
    refused(room, fleet, disclosed(room, thief, 4))


def test_what_both_branches_begin_with_needs_the_owners_head(room: Room, fleet: Fleet) -> None:
    giver = fleet.device("a")
    giver.record(3)
    thief = giver.clone()
    giver.record(9)
    thief.record(2)
    sent(room, fleet, "rogue", thief)
    compromise(room, giver, head_of(giver))
    refused(room, fleet, disclosed(room, giver, 1))


@pytest.mark.parametrize("index", range(14))
def test_an_honest_record_of_the_prefix_stays(room: Room, fleet: Fleet, index: int) -> None:
    giver = fleet.device("a")
    for count in (3, 1, 5, 2):
        giver.record(count)
    giver.boot = 2
    giver.record(2)
    named = head_of(giver)
    giver.record(4)
    sent(room, fleet, "gateway", giver)
    compromise(room, giver, named)
    file = disclosed(room, giver, index)
    report = stays(room, fleet, file)
    assert [record.index for record in report.records] == [index]
    # Whatever comes first in the file, the boot is that of the record's own checkpoint.
    file.halves.reverse()
    assert stays(room, fleet, file).records[0].boot == (1 if index < 12 else 2)
    assert len(file.halves) == (1 if index >= 12 else 2)
    assert {half.checkpoint for half in file.halves} <= {data for data, _ in file.entries}


def test_without_its_path_to_the_named_head_a_record_does_not_stay(
    room: Room, fleet: Fleet
) -> None:
    giver = fleet.device("a")
    giver.record(3)
    giver.record(3)
    sent(room, fleet, "gateway", giver)
    compromise(room, giver, head_of(giver))
    file = disclosed(room, giver, 1)
    stays(room, fleet, file)
    sizes = [checkpoint.parse(half.checkpoint).size for half in file.halves]
    assert sizes == [4, 7]
    file.halves.pop()
    refused(room, fleet, file)


def test_a_named_head_that_is_not_held_shows_nothing(room: Room, fleet: Fleet) -> None:
    giver = fleet.device("a")
    giver.record(3)
    giver.record(3)
    sent(room, fleet, "gateway", giver, end=1)
    compromise(room, giver, head_of(giver))
    refused(room, fleet, disclosed(room, giver, 1))


def test_a_head_that_was_logged_before_counts_where_the_named_one_came_later(
    room: Room, fleet: Fleet
) -> None:
    giver, receiver = fleet.device("a"), fleet.device("b")
    handover(giver, receiver, "order-1")
    giver.record(3)
    sent(room, fleet, "gateway", giver, receiver, end=1)
    assert room.states() == {"matched": 1}
    compromise(room, giver, head_of(giver))
    sent(room, fleet, "late", giver)
    wanted = interaction_id(HANDOVER.digest, "dock-3", "order-1")
    with room.sequencer.store.read() as connection:
        file = evidencefile.parse(exporter(room).interaction(connection, "dock-3", wanted))
    report = stays(room, fleet, file)
    assert report.party_sets[0].states == ["matched"]
    assert report.party_sets[0].said[0].recomputed
    # What came later only does not stay, though it lies in the prefix.
    refused(room, fleet, disclosed(room, giver, 3), listed_late=True)


def test_a_head_beyond_the_named_one_shows_no_logging(room: Room, fleet: Fleet) -> None:
    giver = fleet.device("a")
    giver.record(3)
    named = head_of(giver)
    giver.record(3)
    sent(room, fleet, "gateway", giver)
    file = merge([disclosed(room, giver, 1), disclosed(room, giver, 5)])
    compromise(room, giver, named)
    file = merge([file, disclosed(room, giver, 1)])
    file.halves = [half for half in file.halves if half.index == 1]
    stays(room, fleet, file)
    file.halves.append(under(giver, 1, 1))
    file.entries = [row for row in file.entries if row[0] != giver.stretches[0].checkpoint]
    assert giver.stretches[1].checkpoint in {data for data, _ in file.entries}
    refused(room, fleet, file, listed_late=True)


def test_a_validator_that_had_one_head_before_does_not_lie(room: Room, fleet: Fleet) -> None:
    giver, receiver = fleet.device("a"), fleet.device("b")
    handover(giver, receiver, "order-1")
    giver.record(3)
    giver.record(3)
    sent(room, fleet, "gateway", giver, receiver, end=1)
    compromise(room, giver, head_of(giver))
    sent(room, fleet, "late", giver)
    wanted = interaction_id(HANDOVER.digest, "dock-3", "order-1")
    with room.sequencer.store.read() as connection:
        file = evidencefile.parse(exporter(room).interaction(connection, "dock-3", wanted))
    more = disclosed(room, giver, 3)
    more.halves = [under(giver, 1, 1)]
    file = merge([file, more])
    file.halves = [half for half in file.halves if half.checkpoint != giver.stretches[2].checkpoint]
    # The file shows too little for the record to stay, and no lie of the validator.
    refused(room, fleet, file)


def test_an_earlier_epoch_is_shown_by_the_first_record_after_it(room: Room, fleet: Fleet) -> None:
    giver = fleet.device("a")
    giver.record(3)
    giver.record(2)
    later = giver.new_epoch(b"epoch--2")
    later.record(2)
    later.record(2)
    sent(room, fleet, "gateway", giver)
    sent(room, fleet, "other", later)
    compromise(room, later, head_of(later))
    file = disclosed(room, giver, 1)
    report = stays(room, fleet, file)
    assert {record.epoch for record in report.records} == {giver.epoch, later.epoch}
    # Without the first record under the named head nothing leads to the earlier epoch.
    file.halves = [
        half
        for half in file.halves
        if (checkpoint.parse(half.checkpoint).epoch, checkpoint.parse(half.checkpoint).size)
        != (later.epoch, later.size)
    ]
    refused(room, fleet, file)


def test_a_thiefs_first_record_leads_to_no_epoch(room: Room, fleet: Fleet) -> None:
    giver = fleet.device("a")
    giver.record(3)
    thief = giver.clone()
    later = giver.new_epoch(b"epoch--2")
    later.record(9)
    thief.record(2)
    thief_later = thief.new_epoch(b"epoch--2")
    thief_later.record(2)
    sent(room, fleet, "rogue", thief)
    sent(room, fleet, "other", thief_later)
    compromise(room, later, head_of(later))
    refused(room, fleet, disclosed(room, thief, 4))
