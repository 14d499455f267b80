"""Of a validator that works, its own log proves nothing: whatever came, in whatever order."""

from random import Random

import pytest

from support.devices import Device, Fleet
from support.validating import HANDOVER, START_MS, Gateway, Room, handover
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.ids import interaction_id
from tallystick.evidence.keys import from_b64u
from tallystick.evidence.note import NoteKey
from tallystick.evidence.root import format_root
from tallystick.validator import queries, receipts
from tallystick.validator.evidence import Exporter
from tallystick.verify import Policy, check_evidence, load_evidence
from tallystick.verify.logcopy import LogCopy
from tallystick.verify.proving import Prosecution

TASKS = 10


def copy_of(room: Room) -> LogCopy:
    with room.sequencer.store.read() as connection:
        head = receipts.newest_head(connection)
        assert head is not None
        found: list[bytes] = []
        while len(found) < head.size:
            page = queries.entries(connection, len(found), 1000)
            found += [from_b64u(one.data, len(one.data) * 3 // 4) for one in page.entries]
    return LogCopy(head.note, found)


def evidence_of(room: Room, task: str) -> EvidenceFile:
    exporter = Exporter(room.sequencer.config.roots, room.sequencer.profiles, None)
    id_ = interaction_id(HANDOVER.digest, "dock-3", task)
    with room.sequencer.store.read() as connection:
        return load_evidence(exporter.interaction(connection, "dock-3", id_))


def played(room: Room, fleet: Fleet, random: Random) -> list[str]:
    """Handovers that match, differ, come late or in halves, in batches of any length."""
    devices = [fleet.device(name) for name in "abc"]
    gateway = Gateway(fleet)
    tasks = [f"order-{n}" for n in range(TASKS)]
    late: list[tuple[Device, Device, str]] = []
    taken = {device.id: 0 for device in devices}
    sent = 0
    for task in tasks:
        giver, receiver = random.sample(devices, 2)
        sides = random.choice(("gr", "gr", "g", "r", "gr"))
        handover(giver, receiver, task, received_x=random.choice((1, 1, 9)), sides=sides)
        if sides == "g" and random.random() < 0.7:
            late.append((giver, receiver, task))
    for step in range(3):
        for device in random.sample(devices, 3):
            gateway.take(*device.segments()[taken[device.id] :])
            taken[device.id] = len(device.stretches)
        while sent < len(gateway.items):
            end = min(len(gateway.items), sent + random.randrange(1, 6))
            room.send(gateway.batch(sent, end, devices=devices))
            sent = end
            if random.random() < 0.6:
                room.settle()
            room.clock.now_ms += random.randrange(40_000)
        if step == 0:
            room.clock.now_ms += 70_000
            room.settle()
            for giver, receiver, task in late:
                handover(giver, receiver, task, sides="r")
    room.clock.now_ms += 70_000
    room.settle()
    return tasks


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_proven(room: Room, fleet: Fleet, seed: int) -> None:
    tasks = played(room, fleet, Random(seed))
    copy = copy_of(room)
    assert len(copy.verdicts) >= TASKS, "each was decided"
    missing = sum(bool(verdict.finding.missing) for _, verdict in copy.verdicts)
    assert missing, "one that is silent is in every play"
    files = [evidence_of(room, task) for task in tasks]
    keys = room.sequencer.log.keys
    policy = Policy.parse(
        f'roots = ["{fleet.root_line}"]\n[[validators.accept]]\norganisation = "x"\n'
        f'key = "{format_root(keys.name, keys.signer.public_key())}"\n'
        f'note_key = "{NoteKey(keys.origin, keys.notes.public_key()).text()}"\n'
    )
    proven = [
        (one.name, one.says)
        for _, file in Prosecution([copy], files).all()
        for one in check_evidence(load_evidence(file.encode()), policy).proven
        if one.name != "missed interval"
    ]
    assert proven == []
    assert room.clock.now_ms > START_MS
