"""An evidence file `.tally` (docs/protocol.md, 7): structure only; checking is in verify."""

from tallystick.evidence import _shape as shape
from tallystick.evidence._wire import Wire
from tallystick.evidence.cbor import decode, encode
from tallystick.evidence.errors import Malformed
from tallystick.evidence.kinds import EVIDENCE_FILE
from tallystick.evidence.limits import (
    CREDENTIAL_STATEMENTS_MAX,
    ENTRY_BYTES_MAX,
    EVIDENCE_BYTES_MAX,
    EVIDENCE_CBOR_ITEMS_MAX,
    EVIDENCE_NOTE_BYTES_MAX,
    LOG_CHECKPOINT_BYTES_MAX,
    PROFILE_BYTES_MAX,
    STATEMENT_BYTES_MAX,
)

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.evidence.half import Half

VERSION = "tallystick/1"

CREDENTIALS, PROFILES, HALVES, ENTRIES, CUSTODY, NOTES, NOTE, HEADS, FORKS, PROOFS = range(1, 11)


class EvidenceFile(Wire):
    """What is disclosed; every field may be empty, `note` is text for people or None."""

    def __init__(
        self,
        credentials: list[list[bytes]],
        profiles: list[bytes],
        halves: "list[Half]",
        entries: list[tuple[bytes, list[bytes]]],
        custody: list[bytes],
        notes: list[str],
        note: str | None,
        heads: list[bytes],
        forks: "list[bytes] | tuple[()]" = (),
        proofs: "list[bytes] | tuple[()]" = (),
    ) -> None:
        self.credentials = credentials
        self.profiles = profiles
        self.halves = halves
        self.entries = [(entry, list(receipts)) for entry, receipts in entries]
        self.custody = custody
        self.notes = notes
        self.note = note
        self.heads = heads
        self.forks = forks
        self.proofs = proofs

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first; an empty section is left out."""
        sections = {
            CREDENTIALS: [list(credential) for credential in self.credentials],
            PROFILES: list(self.profiles),
            HALVES: [decode(half.encode()) for half in self.halves],
            ENTRIES: [[entry, receipts] for entry, receipts in self.entries],
            CUSTODY: list(self.custody),
            NOTES: list(self.notes),
            NOTE: self.note,
            HEADS: list(self.heads),
            FORKS: list(self.forks),
            PROOFS: list(self.proofs),
        }
        return [EVIDENCE_FILE, VERSION, {key: part for key, part in sections.items() if part}]


def _blobs(value: "Any", bytes_max: int, what: str) -> list[bytes]:
    return [shape.blob(item, bytes_max, what) for item in value]


def _credentials(value: "Any") -> list[list[bytes]]:
    what = "evidence file: credential"
    for row in value:
        shape.array(row, what, 1, CREDENTIAL_STATEMENTS_MAX)
    return [_blobs(row, STATEMENT_BYTES_MAX, what) for row in value]


def _halves(value: "Any") -> "list[Half]":
    if not value:
        return []
    from tallystick.evidence import half  # noqa: PLC0415  # costs heap

    return [half.parse(encode(item)) for item in value]


def _entries(value: "Any") -> list[tuple[bytes, list[bytes]]]:
    what = "evidence file: entry"
    entries = []
    for row in value:
        entry, receipts = shape.row(row, 2, what)
        shape.array(receipts, what)
        shape.blob(entry, ENTRY_BYTES_MAX, what)
        entries.append((entry, _blobs(receipts, STATEMENT_BYTES_MAX, what)))
    return entries


def parse(data: bytes) -> EvidenceFile:
    """The file of one encoding; Malformed with a reason of docs/protocol.md, 1.7."""
    what = "evidence file"
    shape.blob(data, EVIDENCE_BYTES_MAX, what)
    shape.bounded(data, EVIDENCE_CBOR_ITEMS_MAX, what)
    version, sections = shape.fields(data, EVIDENCE_FILE, 2, EVIDENCE_BYTES_MAX, what)
    if version != VERSION:
        raise Malformed("bad-value", "evidence file: is not of version %s" % VERSION)
    if type(sections) is not dict:
        raise Malformed("bad-type", "evidence file: its sections must be a map")
    for label, part in sections.items():
        if type(label) is not int or not CREDENTIALS <= label <= PROOFS:
            raise Malformed("bad-value", "evidence file: a section that nobody knows")
        if label == NOTE:
            shape.text(part, EVIDENCE_NOTE_BYTES_MAX, what)
        elif not shape.array(part, what):
            raise Malformed("non-canonical", "evidence file: an empty section must be left out")
    notes = [shape.text(item, LOG_CHECKPOINT_BYTES_MAX, what) for item in sections.get(NOTES, [])]
    file = EvidenceFile(
        _credentials(sections.get(CREDENTIALS, [])),
        _blobs(sections.get(PROFILES, []), PROFILE_BYTES_MAX, what),
        _halves(sections.get(HALVES, [])),
        _entries(sections.get(ENTRIES, [])),
        _blobs(sections.get(CUSTODY, []), STATEMENT_BYTES_MAX, what),
        notes,
        sections.get(NOTE),
        _blobs(sections.get(HEADS, []), STATEMENT_BYTES_MAX, what),
        _blobs(sections.get(FORKS, []), STATEMENT_BYTES_MAX, what),
        _blobs(sections.get(PROOFS, []), EVIDENCE_BYTES_MAX, what),
    )
    file._data = data
    return file
