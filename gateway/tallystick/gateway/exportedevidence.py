"""Evidence files of one gateway's store, as they fill: no reader takes one of more than 16 MiB."""

from collections.abc import Callable

from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import cose, verdict
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.half import Half
from tallystick.evidence.limits import (
    CHECKPOINT_BYTES_MAX,
    EVIDENCE_BYTES_MAX,
    STATEMENT_BYTES_MAX,
)
from tallystick.gateway import limits

Receipts = Callable[[bytes], list[bytes]]  # validators' receipts over a statement, by its digest
Custody = Callable[[bytes], bytes | None]  # a custody receipt, by its digest
Credentials = Callable[[bytes], list[bytes] | None]


class Evidence:
    """What goes into one evidence file, each part once; `size`: its bytes without credentials."""

    def __init__(self, receipts: Receipts, custody: Custody) -> None:
        self._receipts = receipts
        self._custody = custody
        self._devices: dict[bytes, None] = {}
        self._halves: dict[bytes, Half] = {}
        self._entries: dict[bytes, list[bytes]] = {}
        self._named: dict[bytes, bytes] = {}
        self._profiles: dict[bytes, bytes] = {}
        self.profiled = True
        self.size = 0

    def half(self, device: bytes, made: Half) -> None:
        """A record of a device, with its path and checkpoint."""
        self._devices[device] = None
        data = made.encode()
        if data not in self._halves:
            self._halves[data] = made
            self.size += len(data)
        self.checkpoint(made.checkpoint)

    def checkpoint(self, data: bytes) -> None:
        """A device's checkpoint, who receipted it, and the custody receipt that it names."""
        sign1 = cose.parse(data, CHECKPOINT_BYTES_MAX)
        self._entry(sign1.statement_bytes(), sign1.digest())
        named = checkpoints.parse(data).custody
        receipt = None if named is None else self._custody(named)
        if receipt is not None:
            self.receipt(receipt)

    def _entry(self, entry: bytes, digest: bytes) -> None:
        if entry not in self._entries:
            found = self._entries[entry] = self._receipts(digest)
            self.size += len(entry) + sum(map(len, found))

    def receipt(self, data: bytes) -> None:
        """A custody receipt."""
        digest = cose.parse(data, CHECKPOINT_BYTES_MAX).digest()
        if digest not in self._named:
            self._named[digest] = data
            self.size += len(data)

    def verdict(self, digest: bytes, data: bytes, profiles: dict[bytes, bytes]) -> set[bytes]:
        """A verdict; the claims that it names."""
        finding = verdict.parse(data).finding
        self._entry(cose.parse(data, STATEMENT_BYTES_MAX).statement_bytes(), digest)
        for devices in finding.parties.values():
            self._devices.update(dict.fromkeys(devices))
        if finding.profile not in profiles:
            self.profiled = False
        elif finding.profile not in self._profiles:
            self._profiles[finding.profile] = profiles[finding.profile]
            self.size += len(profiles[finding.profile])
        return {row.claim for row in finding.claims}

    def encode(
        self, credentials: Credentials, own: list[list[bytes]], lacking: int, *, cut: bool
    ) -> bytes | None:
        """The file's bytes; None where no reader would take it.

        own: credentials of the gateway and of validators. lacking: claims that a verdict names and
        that are not in it. cut: whether anything was left out for want of room.
        """
        known = [found for one in self._devices if (found := credentials(one)) is not None]
        notes = ["Made by a gateway from its own store; no validator chose what is in it."]
        if lacking:
            notes.append(f"{lacking} claims that a verdict names are not in it.")
        if cut:
            notes.append("It was cut: an evidence file has a longest length.")
        if not self.profiled:
            notes.append("The profile of a verdict is not in it.")
        data = EvidenceFile(
            [*known, *own],
            [self._profiles[digest] for digest in sorted(self._profiles)],
            list(self._halves.values()),
            list(self._entries.items()),
            list(self._named.values()),
            [],
            " ".join(notes),
            [],
        ).encode()
        return data if len(data) <= EVIDENCE_BYTES_MAX else None


class Heads:
    """The evidence of a device's checkpoints: which validators receipted them, and custody."""

    def __init__(self, receipts: Receipts, custody: Custody) -> None:
        self._evidence = Evidence(receipts, custody)
        self.count = 0

    @property
    def full(self) -> bool:
        """Whether the next one goes into another file."""
        longest = self._evidence.size >= limits.EXPORT_EVIDENCE_BYTES
        return longest or self.count == limits.EXPORT_HEADS_PER_FILE

    def add(self, head: bytes) -> None:
        """One checkpoint, as it was signed."""
        self._evidence.checkpoint(head)
        self.count += 1

    def also(self, receipts: list[bytes]) -> None:
        """Custody receipts that no checkpoint names yet."""
        for data in receipts:
            self._evidence.receipt(data)

    def encode(self, credential: list[bytes], own: list[list[bytes]]) -> bytes | None:
        """The evidence file's bytes; None where credentials alone are too long for one."""
        return self._evidence.encode(lambda _device: None, [credential, *own], 0, cut=False)
