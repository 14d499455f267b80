"""A handover with an accepted half, a fleet that erases its bodies, and what is left of them."""

from typing import Any

from support.devices import Device, Fleet
from support.story import disclose
from support.validating import HANDOVER, START_MS, Gateway, Room
from tallystick.evidence import erasure, leaf
from tallystick.evidence.erasure import Erasure
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.keys import b64u
from tallystick.evidence.note import NoteKey
from tallystick.evidence.root import format_root
from tallystick.validator import schema
from tallystick.validator.access import Scope
from tallystick.validator.evidence import Exporter
from tallystick.verify import load_evidence
from tallystick.verify.policy import Policy, parse_policy

NOW_S = START_MS // 1000 + 3600
CANARY = "canary-4711"
DECISION, CLAIM, EVENT, HALF = range(4)


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


def salt_at(device: Device, index: int) -> bytes:
    stretch = next(one for one in device.stretches if one.first <= index < one.to)
    return leaf.salt(stretch.seed, index)
