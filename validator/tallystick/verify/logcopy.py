"""A whole copy of a validator's log: every entry up to a log checkpoint that has this root.

Signatures are not looked at here.  What follows from a log alone, scores and proofs, starts here.
"""

from __future__ import annotations

from functools import cached_property

from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import custody, keychange, verdict
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.entry import Closing, LoggedClaim, TimeEntry, parse_entry
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.kinds import (
    CHECKPOINT,
    CUSTODY_RECEIPT,
    ENROLMENT,
    GENESIS,
    KEY_CHANGE,
    VERDICT,
)
from tallystick.evidence.note import Note
from tallystick.evidence.note import parse as parse_note
from tallystick.evidence.statement import Statement
from tallystick.evidence.tree import Tree, leaf_hash
from tallystick.evidence.verdict import Verdict

Parsed = Statement | TimeEntry | LoggedClaim | Closing | None
Place = tuple[bytes, bytes]  # device and epoch


class LogCopy:
    """Entries 0 to the note's size; Unverified("bad-root") when they do not give its root."""

    def __init__(self, note: str | Note, entries: list[bytes]) -> None:
        self.note = parse_note(note) if isinstance(note, str) else note
        self.entries = entries
        self.leaves = [leaf_hash(data) for data in entries]
        tree = Tree()
        tree.extend(self.leaves)
        if tree.size != self.note.size or tree.root() != self.note.root:
            raise Unverified(
                "bad-root",
                f"the {tree.size} entries of the log {self.origin} do not give the root of its "
                f"checkpoint at {self.note.size}",
            )

    @property
    def origin(self) -> str:
        """By which its checkpoints name the log."""
        return self.note.origin

    @property
    def size(self) -> int:
        """How many entries."""
        return self.note.size

    @cached_property
    def parsed(self) -> list[Parsed]:
        """Each entry, or None where it is of a kind that this version does not know."""
        found: list[Parsed] = []
        for data in self.entries:
            try:
                found.append(parse_entry(data))
            except Malformed:
                found.append(None)
        return found

    @cached_property
    def times_ms(self) -> list[int]:
        """The log time of each entry; 0 before the first time entry."""
        now_ms, found = 0, []
        for entry in self.parsed:
            if isinstance(entry, TimeEntry):
                now_ms = entry.time_ms
            found.append(now_ms)
        return found

    def _statements(self, kind: int) -> list[tuple[int, Statement]]:
        return [
            (at, entry)
            for at, entry in enumerate(self.parsed)
            if isinstance(entry, Statement) and entry.payload[1] == kind
        ]

    @cached_property
    def claims(self) -> dict[bytes, int]:
        """Where each claim is logged first, by its reference."""
        found: dict[bytes, int] = {}
        for at, entry in enumerate(self.parsed):
            if isinstance(entry, LoggedClaim):
                found.setdefault(entry.reference(), at)
        return found

    @cached_property
    def heads(self) -> dict[Place, list[tuple[int, Checkpoint]]]:
        """Devices' checkpoints by log, in the order of their entries."""
        found: dict[Place, list[tuple[int, Checkpoint]]] = {}
        for at, entry in self._statements(CHECKPOINT):
            head = checkpoints.parse(entry.encode())
            found.setdefault((head.device, head.epoch), []).append((at, head))
        return found

    @cached_property
    def verdicts(self) -> list[tuple[int, Verdict]]:
        """Verdicts, in the order of their entries."""
        return [(at, verdict.parse(one.encode())) for at, one in self._statements(VERDICT)]

    @cached_property
    def custody(self) -> list[tuple[int, CustodyReceipt]]:
        """Custody receipts, in the order of their entries."""
        found = self._statements(CUSTODY_RECEIPT)
        return [(at, custody.parse(one.encode())) for at, one in found]

    @cached_property
    def closings(self) -> dict[tuple[str, bytes, bytes], int]:
        """Where party sets were closed: by namespace, interaction and hash of the map."""
        return {
            (entry.namespace, entry.interaction, entry.party_set): at
            for at, entry in enumerate(self.parsed)
            if isinstance(entry, Closing)
        }

    @cached_property
    def credentials(self) -> dict[bytes, list[bytes]]:
        """Enrolments with the key changes after them, as far as the log has them, by id."""
        found: dict[bytes, list[bytes]] = {}
        for _, entry in self._statements(ENROLMENT):
            if entry.device is not None:
                found.setdefault(entry.device, [entry.encode()])
        for _, entry in self._statements(KEY_CHANGE):
            change = keychange.parse(entry.encode())
            if change.id in found:
                found[change.id].append(entry.encode())
        return found

    @property
    def genesis(self) -> bytes | None:
        """Entry 0, where it is one."""
        first = self.parsed[0] if self.parsed else None
        is_genesis = isinstance(first, Statement) and first.payload[1] == GENESIS
        return self.entries[0] if is_genesis else None

    def at(self, size: int) -> LogCopy:
        """The log as it was at a size, under a note that nobody signed."""
        if not 0 < size <= self.size:
            raise Malformed("bad-value", f"the log {self.origin} was never shown at {size}")
        tree = Tree()
        tree.extend(self.leaves[:size])
        return LogCopy(Note(self.origin, size, tree.root(), []), self.entries[:size])

    def file(self) -> EvidenceFile:
        """The copy as an evidence file: every entry in order, and the note."""
        entries: list[tuple[bytes, list[bytes]]] = [(data, []) for data in self.entries]
        return EvidenceFile([], [], [], entries, [], [self.note.text()], None, [])


def from_file(file: EvidenceFile) -> LogCopy:
    """The copy in an evidence file that `LogCopy.file` made."""
    if len(file.notes) != 1:
        raise Malformed("bad-value", "a copy of a log has one log checkpoint, and every entry")
    return LogCopy(file.notes[0], [data for data, _ in file.entries])
