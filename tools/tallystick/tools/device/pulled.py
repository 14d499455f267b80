"""Evidence from a copy of a journal: its segments, verified, as the device would have sent them."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tallystick.evidence import kinds, segment
from tallystick.evidence.credential import Identity
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.keys import device_text
from tallystick.evidence.segment import VerifiedSegment
from tallystick.evidence.tree import Tree
from tallystick.recorder import stretches
from tallystick.recorder.core import Forms, Log
from tallystick.recorder.identity import forms, rekeyed
from tallystick.recorder.journal import Journal
from tallystick.recorder.stretches import Stretch
from tallystick.tools.device.journalcopy import header, open_copy

NAMES = {
    kinds.DECISION: "decisions",
    kinds.CLAIM: "claims",
    kinds.EVENT: "events",
    kinds.ACCEPTED_HALF: "halves",
}


@dataclass
class Pulled:
    """segments: name to bytes, oldest first; records: how many by kind.

    elided: records of which only hashes are left; unsigned: records at the end without a signature,
    which stay on the device; broken: why the rest could not be read, for each epoch.
    """

    segments: dict[str, bytes] = field(default_factory=dict)
    records: Counter[str] = field(default_factory=Counter)
    elided: int = 0
    unsigned: int = 0
    epochs: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    log: Log | None = None


def read(folder: Path, who: Identity, credential: list[bytes]) -> Pulled:
    """Every signed stretch of a copied journal, verified: signatures, tree, salts.

    :param folder: with the journal's files; nothing in it is changed.
    :raises TallyError: a segment does not verify, or the journal is another device's.
    """
    pulled = Pulled()
    with tempfile.TemporaryDirectory(prefix="tally-device.") as temporary:
        # Opening cuts off what a power cut tore.
        shutil.copytree(folder, temporary, dirs_exist_ok=True)
        journal, log = open_copy(Path(temporary))
        pulled.log = log
        if log is None:
            return pulled
        if log.device != who.id:
            raise Malformed("wrong-device", "the journal is another device's than the credential")
        made = _forms(who, credential)
        for epoch in _epochs(journal):
            pulled.epochs.append(epoch.hex())
            reader = _Epoch(journal, epoch, who, made, log.signed if epoch == log.epoch else None)
            try:
                reader.read(pulled)
            except TallyError as error:
                pulled.broken[epoch.hex()] = str(error)
        if journal.unreadable:
            pulled.broken["?"] = f"{journal.unreadable} files of the journal are missing"
        if journal.damage:
            pulled.broken[log.epoch.hex()] = f"the newest file is damaged ({journal.damage})"
        pulled.unsigned += log.tree.size - log.sealed_size
    return pulled


def _forms(who: Identity, credential: list[bytes]) -> Forms:
    name = device_text(who.id)
    current = forms(who.key, who.iss, name)
    return rekeyed(current, credential, {"fleet": who.iss, "device": name})


def _epochs(journal: Journal) -> list[bytes]:
    """In the order in which they were opened; a recorder knows its newest one only."""
    found: list[bytes] = []
    for file in journal.list:
        try:
            file.epoch = header(journal.files, file.name)[3]
        except Malformed:
            file.epoch = b""
        if file.epoch and file.epoch not in found:
            found.append(file.epoch)
    return found


class _Epoch:
    """One epoch of a journal; `signed`: the newest checkpoint with a signature, where known."""

    def __init__(
        self, journal: Journal, epoch: bytes, who: Identity, made: Forms, signed: int | None
    ) -> None:
        self.epoch = epoch
        self.who = who
        self.made = made
        self.signed = signed
        # A stretch never goes on in another epoch's files.
        self.journal = Journal(journal.files, journal.bytes_max, journal.file_bytes_max)
        self.journal.list = [file for file in journal.list if file.epoch == epoch]

    def read(self, pulled: Pulled) -> None:
        """Add its segments, oldest first."""
        oldest = self.journal.list[0]
        position, first = (oldest.number, 0), oldest.first
        tree: Tree | None = None
        while True:
            stretch = _run(stretches.read_stretch(self.journal, position, first))
            if stretch is None:
                return
            data = self._segment(stretch)
            if data is None:
                pulled.unsigned += stretch.count
            else:
                verified = segment.verify_segment(segment.parse(data), self.who, tree)
                tree = verified.tree
                span = f"{stretch.first:012}-{stretch.to:012}"
                name = f"{self.epoch.hex()}-{span}-{stretch.ordinal}.segment"
                pulled.segments[name] = data
                _count(verified, pulled)
            position, first = (stretch.number, stretch.end), stretch.to

    def _segment(self, stretch: Stretch) -> bytes | None:
        """None where its checkpoint has no signature yet."""
        if self.signed is not None and stretch.ordinal > self.signed:
            return None
        journal, oldest = self.journal, self.journal.list[0]
        signature = _run(
            stretches.read_signature(journal, stretch.number, stretch.end, stretch.ordinal)
        )
        edge = None
        if stretch.first and stretch.at == 0 and stretch.number == oldest.number:
            ordinal, payload, old, hashes = _run(stretches.read_edge(journal, stretch.number))
            edge = (self.made.checkpoint(payload, old, ordinal), hashes)
        checkpoint = self.made.checkpoint(stretch.payload, signature, stretch.ordinal)
        outgoing = stretches.Outgoing(journal, stretch, self.who.id, self.epoch, edge, checkpoint)
        return b"".join(outgoing.pieces())


def _count(verified: VerifiedSegment, pulled: Pulled) -> None:
    for stretch in verified.stretches:
        bodies = 0
        for _, record, _ in stretch.records():
            pulled.records[NAMES.get(record[1], "others")] += 1
            bodies += 1
        pulled.elided += stretch.to - stretch.first - bodies


def _run(work: Generator[None, None, Any]) -> Any:
    """The result of something that is done in steps."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value
