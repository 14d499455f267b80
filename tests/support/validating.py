"""A validator in a folder, and a gateway in memory that sends it batches as a real one does."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

from support.devices import Device, Fleet, key, write_key
from tallystick.evidence import batchanswer, custody, gatewaylog, segment
from tallystick.evidence.batch import Batch
from tallystick.evidence.batchanswer import BatchAnswer
from tallystick.evidence.cbor import encode
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.enrolment import SUBJECT_GATEWAY, SUBJECT_VALIDATOR
from tallystick.evidence.gatewayhead import GatewayHead
from tallystick.evidence.tree import Tree
from tallystick.validator import config as configs
from tallystick.validator.config import Config
from tallystick.validator.sequencer import Sequencer
from tallystick.verify import profiles

HANDOVER = profiles.load("handover")
TOKEN = "a-reader's-token-of-the-tests"
OPERATOR = "an-operator's-token-of-the-tests"
START_MS = 1_790_000_000_000


def compress(data: bytes) -> bytes:
    """As a gateway sends a batch; not so well that a short one passes the ratio."""
    return zstandard.ZstdCompressor(level=1).compress(data)


class Clock:
    """A clock that a test moves."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


def write_config(folder: Path, fleets: list[Fleet], **settings: Any) -> Path:
    """A validator's folder as `tally fleet enroll` would write it; returns validator.toml."""
    folder.mkdir(parents=True, exist_ok=True)
    name = settings.pop("owner", "notary")
    tables = settings.pop("tables", "")
    own = Fleet(name)
    if not (folder / "key").exists():
        signer, credential = own.member("validator", SUBJECT_VALIDATOR)
        write_key(folder / "key", signer)
        write_key(folder / "note.key")
        (folder / "credential.cbor").write_bytes(encode(credential))
        (folder / "profiles").mkdir()
        (folder / "profiles" / "handover.toml").write_text(profiles.text("handover"))
    roots = ", ".join(f'"{fleet.root_line}"' for fleet in [own, *fleets])
    lines = {
        "name": f'"{name}"',
        "origin": f'"{name}.example/log"',
        "bind": '"127.0.0.1:0"',
        "key": '"file:key"',
        "note_key": '"file:note.key"',
        "credential": '"credential.cbor"',
        "store": '"validator.sqlite"',
        "roots": f"[{roots}]",
        "profiles": '"profiles"',
    } | settings
    text = "".join(f"{name} = {value}\n" for name, value in lines.items())
    path = folder / "validator.toml"
    text += f'\n[operators]\ncounsel = "{OPERATOR}"\n{tables}'
    path.write_text(f'{text}\n[readers]\ninsurer = "{TOKEN}"\n')
    return path


def load(folder: Path, fleets: list[Fleet], **settings: Any) -> Config:
    """The configuration of a validator in a folder."""
    return configs.load(write_config(folder, fleets, **settings))


@dataclass
class Gateway:
    """Logs segments, makes batches of them, gives custody receipts."""

    fleet: Fleet
    name: str = "gateway"
    time_ms: int = START_MS
    items: list[bytes] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    named: bytes | None = None  # its id, once its key is no longer the first one

    def __post_init__(self) -> None:
        self.signer, self.credential = self.fleet.member(self.name, SUBJECT_GATEWAY)

    @property
    def id(self) -> bytes:
        return self.named or self.signer.public_key().thumbprint()

    def take(self, *segments: bytes) -> None:
        """Log segments."""
        for data in segments:
            self.items.append(data)
            self.leaves.append(gatewaylog.leaf_of(segment.parse(data)).leaf_hash())

    def tree(self, size: int) -> Tree:
        tree = Tree()
        tree.extend(self.leaves[:size])
        return tree

    def batch(
        self,
        first: int = 0,
        end: int | None = None,
        *,
        devices: list[Device] | None = None,
        receipts: list[bytes] | None = None,
        missing: list[bytes] | None = None,
        elide: tuple[int, ...] = (),
        own: bool = True,
    ) -> bytes:
        """The signed batch of what was logged from `first` on."""
        end = len(self.items) if end is None else end
        items: list[bytes | tuple[int, bytes]] = [
            (0, self.leaves[at]) if at in elide else self.items[at] for at in range(first, end)
        ]
        credentials = [list(device.credential) for device in devices or []]
        if own:
            credentials.append(list(self.credential))
        head = GatewayHead(end, self.tree(end).root(), self.time_ms)
        made = Batch(
            first,
            list(self.tree(first).edge),
            items,
            credentials,
            receipts or [],
            missing or [],
            head.sign(self.signer, self.fleet.name, self.id),
        )
        return made.sign(self.signer, self.fleet.name, self.id)

    def custody(self, device: Device, time_ms: int) -> bytes:
        """A custody receipt over a device's log so far, which its next checkpoints name."""
        made = CustodyReceipt(device.epoch, 0, device.size, device.root, True, time_ms)
        data = made.sign(self.signer, self.fleet.name, device.id)
        device.custody = custody.parse(data).digest
        return data


@dataclass
class Room:
    """A validator without HTTP: batches go straight to its sequencer's parts."""

    folder: Path
    fleets: list[Fleet]
    clock: Clock = field(default_factory=Clock)
    owner: str = "notary"
    store: str = "validator.sqlite"
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        """Open, or open again."""
        settings = {"owner": self.owner, "store": f'"{self.store}"', **self.settings}
        self.sequencer = Sequencer(load(self.folder, self.fleets, **settings), self.clock)

    def close(self) -> None:
        self.sequencer.stop()

    def send(self, data: bytes) -> BatchAnswer:
        """A batch; its answer."""
        return batchanswer.parse(self.sequencer.ingest.batch(data))

    def settle(self) -> None:
        """All findings that are due."""
        while self.sequencer.reconciler.tick():
            pass

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the store holds."""
        with self.sequencer.store.read() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def states(self) -> dict[str, int]:
        """Party sets by state."""
        rows = self.rows("SELECT state, count(*) FROM party_sets GROUP BY state")
        return {row[0]: row[1] for row in rows}


def handover(
    giver: Device,
    receiver: Device,
    task: str,
    *,
    x: int = 1,
    received_x: int | None = None,
    sides: str = "gr",
) -> None:
    """Both parties claim one handover, sealed; `sides` leaves one out."""
    parties = {"giver": [giver.id], "receiver": [receiver.id]}
    if "g" in sides:
        giver.claim(
            task, "giver", "released", parties, HANDOVER.digest, item="box", position_m=[x, 2]
        )
        giver.seal()
    if "r" in sides:
        at = x if received_x is None else received_x
        receiver.claim(
            task, "receiver", "acquired", parties, HANDOVER.digest, item="box", position_m=[at, 2]
        )
        receiver.seal()


__all__ = [
    "HANDOVER",
    "START_MS",
    "TOKEN",
    "Clock",
    "Gateway",
    "Room",
    "compress",
    "handover",
    "key",
    "load",
    "write_config",
]
