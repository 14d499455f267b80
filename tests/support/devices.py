"""A fleet and its devices in memory: they make valid credentials, records and segments.

Everything is real evidence, signed by file keys from fixed secrets, so that a test says in a line
what a device did. No flash, no clock: the recorder's own tests have those.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tallystick.evidence import cbor, claim, decisionwriter, enrolment, eventwriter, leaf, root
from tallystick.evidence.accepted import AcceptedHalf
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.digest import sha256
from tallystick.evidence.enrolment import Enrolment
from tallystick.evidence.hello import Hello
from tallystick.evidence.keys import EDDSA, PublicKey, device_text, from_raw
from tallystick.evidence.segment import Edge, Segment, Stretch
from tallystick.evidence.tree import Tree, root_of
from tallystick.hw import _software
from tallystick.hw.signer import Signer
from tallystick.hw.software_key import FileKey

VALID_S = (1_600_000_000, 4_000_000_000)
WALL_MS = 1_790_000_000_000


def key(name: str, alg: int = EDDSA) -> FileKey:
    """A software key that is the same in every run."""
    secret = sha256(b"tests/support/devices: " + name.encode())
    return FileKey(from_raw(alg, _software.public_raw(alg, secret)), secret)


def write_key(path: Path, signer: FileKey | None = None) -> Signer:
    """A key file; a new key's, unless one is given."""
    made = Signer.create(f"file:{path}")
    if signer is not None:
        fields = ["tallystick-key/1", signer.alg, signer.public_key().raw, _secret(signer)]
        checksum = sha256(cbor.encode(fields))[:8]
        path.write_bytes(cbor.encode([*fields, checksum]))
        return signer
    return made


def _secret(signer: FileKey) -> bytes:
    for name in _NAMES:
        if key(name, signer.alg).public_key() == signer.public_key():
            return sha256(b"tests/support/devices: " + name.encode())
    message = "not a key of this file"
    raise ValueError(message)


_NAMES: set[str] = set()


@dataclass
class Fleet:
    """One organisation: it enrols."""

    name: str = "acme"
    alg: int = EDDSA

    @cached_property
    def root(self) -> FileKey:
        return key(f"root of {self.name}", self.alg)

    @property
    def root_line(self) -> str:
        return root.format_root(self.name, self.root.public_key())

    @property
    def roots(self) -> dict[str, PublicKey]:
        return {self.name: self.root.public_key()}

    def enrol(
        self,
        signer: FileKey,
        subject: int = enrolment.SUBJECT_DEVICE,
        valid_s: tuple[int, int] = VALID_S,
        details: dict[str, Any] | None = None,
        held: tuple[int, list[Any]] = (enrolment.CUSTODY_SOFTWARE, []),
        interval_s: int = 60,
    ) -> list[bytes]:
        """A credential: one enrolment."""
        public, possession = enrolment.request(signer, self.name)
        enrolled = Enrolment(
            subject,
            public.thumbprint(),
            public,
            *held,
            details or {},
            [],
            interval_s,
            list(valid_s),
            possession,
        )
        return [enrolled.sign(self.root, self.name, public.thumbprint())]

    def device(
        self,
        name: str = "robot-1",
        alg: int = EDDSA,
        held: "Callable[[Fleet, FileKey], tuple[int, list[Any]]] | None" = None,
    ) -> "Device":
        """An enrolled device, before its first record; held: gives its custody and evidence."""
        label = f"{name} of {self.name}"
        _NAMES.add(label)
        signer = key(label, alg)
        how = (enrolment.CUSTODY_SOFTWARE, []) if held is None else held(self, signer)
        return Device(self, signer, self.enrol(signer, held=how))

    def member(self, name: str, subject: int) -> tuple[FileKey, list[bytes]]:
        """A gateway or a validator: its key and its credential."""
        label = f"{name} of {self.name}"
        _NAMES.add(label)
        signer = key(label)
        return signer, self.enrol(signer, subject)


@dataclass
class Sealed:
    """One stretch of a device's log, with its checkpoint."""

    first: int
    records: list[bytes]
    seed: bytes
    checkpoint: bytes
    elided: bool = False

    @property
    def to(self) -> int:
        return self.first + len(self.records)


@dataclass
class Device:
    """A device's log in memory: `decision`, `claim`, `event`, then `seal`, then `segment`."""

    fleet: Fleet
    signer: FileKey
    credential: list[bytes]
    epoch: bytes = b"epoch--1"
    boot: int = 1
    uptime_ms: int = 0
    custody: bytes | None = None  # digest that the next checkpoints name
    stretches: list[Sealed] = field(default_factory=list)
    pending: list[bytes] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    claims: int = 0
    previous: list[Any] | None = None
    counter: int | None = None
    named: bytes | None = None  # its id, once its key is no longer the first one

    @property
    def id(self) -> bytes:
        return self.named or self.signer.public_key().thumbprint()

    @property
    def text(self) -> str:
        return device_text(self.id)

    @property
    def size(self) -> int:
        """The newest sealed size."""
        return len(self.leaves)

    @property
    def root(self) -> bytes:
        return root_of(self.leaves)

    # --- records ----------------------------------------------------------------------------

    def _add(self, record: bytes) -> bytes:
        if not self.leaves and not self.pending and record[1] != 2:
            self.event("epoch", previous=self.previous, reason="new")
        self.pending.append(record)
        return record

    def _tick(self) -> int:
        self.uptime_ms += 10
        return self.uptime_ms

    def decision(self, action: str = "grip", **inputs: Any) -> bytes:
        """One decision record."""
        return self._add(
            decisionwriter.encode_decision(
                self._tick(), "grasp-net@3f2a91", inputs, {}, {}, {"action": action}
            )
        )

    def decisions(self, count: int) -> None:
        """Many decision records."""
        for n in range(count):
            self.decision(n=n)

    def event(self, event_name: str, **details: Any) -> bytes:
        """One event record."""
        return self._add(eventwriter.encode_event(self._tick(), event_name, details))

    def claim(
        self,
        task: str,
        role: str,
        name: str,
        parties: dict[str, list[bytes]],
        profile: bytes,
        namespace: str = "dock-3",
        relied: list[bytes] | None = None,
        **fields: Any,
    ) -> bytes:
        """One claim record."""
        made = claim.Claim(
            self._tick(), namespace, task, profile, role, name, fields, {}, parties, None,
            sorted(relied or []),
        )  # fmt: skip
        self.claims += 1
        return self._add(made.encode())

    def accept(self, half: bytes) -> bytes:
        """One accepted half."""
        return self._add(AcceptedHalf(self._tick(), half).encode())

    # --- sealing ----------------------------------------------------------------------------

    def seal(self, seed: bytes | None = None) -> Sealed:
        """A checkpoint over everything so far; without records the head is repeated."""
        first = self.size
        if not first and not self.pending:
            self.event("epoch", previous=self.previous, reason="new")
        records, self.pending = self.pending, []
        used = seed or sha256(b"seed" + self.id + self.epoch + first.to_bytes(8, "big"))
        self.leaves += leaf.leaves(used, first, records)
        head = Checkpoint(
            self.epoch,
            self.size,
            self.root,
            self.claims,
            self.boot,
            self._tick(),
            [WALL_MS + self.uptime_ms, 100],
            self.counter,
            self.custody,
        )
        sealed = Sealed(first, records, used, head.sign(self.signer, self.fleet.name, self.id))
        self.stretches.append(sealed)
        return sealed

    def record(self, count: int) -> Sealed:
        """Decisions, sealed."""
        self.decisions(count)
        return self.seal()

    def tree(self, size: int) -> Tree:
        """The tree as it was at a size."""
        tree = Tree()
        tree.extend(self.leaves[:size])
        return tree

    def segment(
        self, begin: int = 0, end: int | None = None, *, edge: bool = False, elide: bool = False
    ) -> bytes:
        """The stretches [begin:end) by number, as one segment."""
        chosen = self.stretches[begin:end]
        first = chosen[0].first
        carried = None
        if edge and first:
            before = next(s for s in reversed(self.stretches[:begin]) if s.to == first)
            carried = Edge(before.checkpoint, list(self.tree(first).edge))
        made = []
        for sealed in chosen:
            items: list[bytes | tuple[int, bytes]] = list(sealed.records)
            secret: bytes | None = sealed.seed if items else None
            if elide and items:
                items = [(0, h) for h in self.leaves[sealed.first : sealed.to]]
                secret = None
            made.append(Stretch(items, secret, sealed.checkpoint))
        return Segment(self.id, self.epoch, first, carried, made).encode()

    def segments(self) -> list[bytes]:
        """Every stretch as a segment of its own."""
        return [self.segment(n, n + 1) for n in range(len(self.stretches))]

    def hello(self, first: int = 0) -> bytes:
        """What it says after each connect."""
        return Hello(self.id, self.epoch, first, self.size, self.credential).encode()

    # --- misfortune -------------------------------------------------------------------------

    def clone(self) -> "Device":
        """A second device with the same key and the same past: what it writes now is a fork."""
        return Device(
            self.fleet,
            self.signer,
            self.credential,
            self.epoch,
            self.boot,
            self.uptime_ms,
            self.custody,
            list(self.stretches),
            list(self.pending),
            list(self.leaves),
            self.claims,
            self.previous,
        )

    def new_epoch(self, epoch: bytes, *, knows: bool = True) -> "Device":
        """The same device after its journal was lost."""
        previous = [self.epoch, self.size, self.root] if knows and self.size else None
        return Device(
            self.fleet,
            self.signer,
            self.credential,
            epoch,
            self.boot + 1,
            previous=previous,
        )
