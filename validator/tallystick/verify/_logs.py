"""Validators' logs, as far as an evidence file shows them: entries with their receipts, notes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from tallystick.evidence import note as notes
from tallystick.evidence import receipt as receipts
from tallystick.evidence.entry import (
    Closing,
    LoggedClaim,
    TimeEntry,
    parse_entry,
    payload_kind,
)
from tallystick.evidence.errors import Unverified
from tallystick.evidence.note import Note, NoteKey
from tallystick.evidence.statement import Statement
from tallystick.verify._identities import Identities
from tallystick.verify._text import printable, utc
from tallystick.verify.report import PinnedValidator, Report

Entry = Statement | TimeEntry | LoggedClaim | Closing


class Log:
    """What is shown of one validator's log; every entry here is covered by a verified receipt."""

    def __init__(self, validator: PinnedValidator) -> None:
        self.validator = validator
        self.origin: str | None = None
        self.entries: dict[int, tuple[bytes, Entry]] = {}
        self.statements: dict[bytes, int] = {}  # where a statement stands, by its digest
        self.roots: dict[int, bytes] = {}
        self.noted: set[int] = set()  # sizes that a verified log checkpoint names
        self._sizes: dict[bytes, int] = {}
        self._times: list[tuple[int, int]] = []

    def fork(self, what: str) -> Unverified:
        """Two things that one log cannot hold: the validator showed two logs."""
        return Unverified("fork", f"the log of validator {self.validator.name} has {what}")

    def put(self, index: int, data: bytes, entry: Entry) -> None:
        """An entry at an index; Unverified("fork") when another one was shown there."""
        known = self.entries.get(index)
        if known is not None:
            if known[0] != data:
                raise self.fork(f"two different entries at {index}")
            return
        self.entries[index] = (data, entry)
        if isinstance(entry, Statement):
            self.statements[entry.digest] = min(index, self.statements.get(entry.digest, index))
        if isinstance(entry, TimeEntry):
            at = bisect_left(self._times, (index, 0))
            before = self._times[at - 1][1] if at else 0
            after = self._times[at][1] if at < len(self._times) else entry.time_ms
            if not before <= entry.time_ms <= after:
                raise self.fork(f"a time at {index} that falls")
            self._times.insert(at, (index, entry.time_ms))

    def root(self, size: int, root: bytes) -> None:
        """A signed root of a size; Unverified("fork") when another one was signed."""
        if self.roots.setdefault(size, root) != root:
            raise self.fork(f"two different roots at size {size}")
        # A receipt binds its size by the path alone; trees of two sizes never share a root.
        if self._sizes.setdefault(root, size) != size:
            name = self.validator.name
            raise Unverified("tampered", f"validator {name}: one root is said to be of two sizes")

    def times(self, index: int) -> tuple[int, int | None]:
        """Least and greatest log time of the entry at `index` that the shown entries allow.

        Times never fall, so every shown time entry bounds all others.  The greatest is None when
        no time entry after it is shown and it does not follow one without a gap.
        """
        at = bisect_right(self._times, (index, 1 << 63))
        least = self._times[at - 1][1] if at else 0
        back = index
        while back in self.entries:
            if isinstance(self.entries[back][1], TimeEntry):
                return least, least
            back -= 1
        return least, self._times[at][1] if at < len(self._times) else None


class Logs:
    """The logs of all validators that a file shows."""

    def __init__(self, known: Identities, report: Report) -> None:
        self.known = known
        self.report = report
        self.by_validator: dict[PinnedValidator, Log] = {}
        # Where an entry stands: by its bytes, validator and index.
        self.places: dict[bytes, dict[PinnedValidator, int]] = {}
        # When a checkpoint (by digest) or a claim (by reference) was logged at the latest, in
        # seconds, by the earliest receipt of each validator.
        self.logged_s: dict[bytes, dict[PinnedValidator, int]] = {}
        self.note_keys: dict[str, tuple[NoteKey, PinnedValidator]] = {}
        for one in known.trust.validators:
            if one.note_key is not None and not one.is_root:
                found = known.validator(one.key.kid(), one.name)
                if found is not None:
                    self.note_keys[one.note_key.text()] = (one.note_key, found.validator)

    def log(self, validator: PinnedValidator) -> Log:
        """The log of a validator, made when first met."""
        return self.by_validator.setdefault(validator, Log(validator))

    def add(self, data: bytes, receipts_given: list[bytes]) -> Entry:
        """One entry of the file with its receipts, each verified or left with a reason."""
        entry = parse_entry(data)
        for given in receipts_given:
            received = receipts.parse(given)
            found = self.known.validator(received.kid, received.iss)
            if found is None:
                what = f"receipt of {received.iss} at {received.index}"
                self.report.leave(what, "the policy accepts no validator with this key")
                continue
            verified = received.verify(data, found.key)
            why = found.doubt(verified.iat)
            if why is not None:
                self.report.leave(f"receipt of {received.iss} at {received.index}", why)
                continue
            log = self.log(found.validator)
            if log.origin is None:
                log.origin = verified.sub
            elif log.origin != verified.sub:
                raise log.fork("two origins")
            log.root(verified.size, verified.root)
            log.put(verified.index, data, entry)
            self.places.setdefault(data, {})[found.validator] = verified.index
            self._say_when(entry, found.validator, verified.iat)
            self.report.validators.add(found.validator)
            self.report.receipted.setdefault(found.validator, set()).add(verified.size)
            self.report.check(
                f"receipt of validator {found.validator.name}",
                f"{entry_name(entry)} is entry {verified.index} of its log at size {verified.size}",
            )
        return entry

    def _say_when(self, entry: Entry, validator: PinnedValidator, iat: int) -> None:
        if isinstance(entry, Statement):
            subject = entry.digest
        elif isinstance(entry, LoggedClaim):
            subject = entry.reference()
        else:
            return
        logged = self.logged_s.setdefault(subject, {})
        logged[validator] = min(iat, logged.get(validator, iat))

    def add_note(self, text: str) -> None:
        """One log checkpoint of the file."""
        note = notes.parse(text)
        what = f"log checkpoint of {printable(note.origin)} at size {note.size}"
        for key, validator in self.note_keys.values():
            # A log signs under its own origin; what another's key signs says nothing of it.
            if key.name == note.origin and any(
                name == key.name and key_id == key.key_id for name, key_id, _ in note.signatures
            ):
                note.verify(key)
                log = self.log(validator)
                if log.origin is not None and log.origin != note.origin:
                    raise log.fork("two origins")
                log.origin = note.origin
                log.root(note.size, note.root)
                log.noted.add(note.size)
                self.report.check(what, f"signed by the note key of validator {validator.name}")
                self._cosigned(note, key, validator, what)
                break
        else:
            self.report.leave(what, "no note key of an accepted validator is known for it")

    def _cosigned(self, note: Note, key: NoteKey, validator: PinnedValidator, what: str) -> None:
        # Not by age: a file is checked years later, and its cosignatures say when.
        found = self.known.trust.witnesses.read(note, key, owner=validator.organisation)
        for organisation, time_s in sorted(found.times.items()):
            said = f"cosigned by {printable(organisation)} at {utc(time_s * 1000)}"
            self.report.check(what, said)
        kept = self.report.cosigned.setdefault((validator, note.size), set())
        kept.update(found.times)
        others = len(note.signatures) - 1 - found.lines
        if others > 0:
            why = "the policy accepts no witness with this key"
            self.report.leave(f"{others} other signatures on the {what}", why)


_KINDS = {
    4: "checkpoint",
    5: "custody receipt",
    6: "enrolment",
    7: "key change",
    10: "verdict",
    11: "profile",
    12: "genesis",
    35: "erasure",
    40: "registration policy",
}


def statement_kind(statement: Statement) -> int:
    """The kind of a statement's payload; its parser has checked that there is one."""
    return payload_kind(statement.payload)


def entry_name(entry: Entry) -> str:
    """How reports call an entry."""
    if isinstance(entry, Statement):
        subject = f" on {printable(entry.sub)}" if entry.sub else ""
        return f"the {_KINDS[statement_kind(entry)]}{subject}"
    if isinstance(entry, TimeEntry):
        return f"the log time {utc(entry.time_ms)}"
    return "a logged claim" if isinstance(entry, LoggedClaim) else "a closing"
