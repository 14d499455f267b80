"""Finding what can be proven: over whole logs of validators, and evidence files beside them.

Each finding is an evidence file with one proof (docs/protocol.md, 9).  Nothing is verified here
against a policy: whoever writes such a file checks it as anybody else would.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import enrolment, extract, forkproof
from tallystick.evidence._proofs import Proof
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.deviceproofs import ON_ITS_WAY_MS_MAX, Disorder, Missed, Revived
from tallystick.evidence.enrolment import SUBJECT_DEVICE
from tallystick.evidence.entry import TimeEntry
from tallystick.evidence.errors import TallyError
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.half import Half
from tallystick.evidence.headproofs import Equivocation
from tallystick.evidence.note import Note
from tallystick.evidence.tree import Tree, consistency_path
from tallystick.verify import _verdictproving as verdicts
from tallystick.verify.logcopy import LogCopy, Place
from tallystick.verify.standing import EPOCHS_FOLLOWED_MAX, previous_of

# Of a device with many gaps the longest ones.
GAPS_TRIED_MAX = 8

Found = tuple[str, EvidenceFile]


class Prosecution:
    """What is at hand; `all()` gives each proof in a file of its own, with what it is called."""

    def __init__(
        self,
        logs: Sequence[LogCopy],
        files: Sequence[EvidenceFile] = (),
        notes: Sequence[Note] = (),
    ) -> None:
        self.logs = logs
        self.files = files
        self.notes = notes
        self.halves: list[Half] = [half for file in files for half in file.halves]
        self.credentials = _credentials(logs, files)
        self._known = [
            (id_, made.sub.encode(), made.subject, statements)
            for id_, statements in sorted(self.credentials.items())
            for made in (enrolment.parse(statements[0]),)
        ]

    def all(self) -> Iterator[Found]:
        """Every proof that can be made; one of a kind for each log or pair where many are."""
        parts: tuple[Callable[[], Iterable[Proof]], ...] = (
            self._disorders,
            self._revivals,
            self._gaps,
            self._equivocations,
            lambda: verdicts.unlogged(self.logs, self.files),
            lambda: verdicts.ignored(self.logs, self.halves),
            lambda: verdicts.baseless(self.logs),
            lambda: verdicts.disagreements(self.logs),
            lambda: verdicts.premature(self.logs),
        )
        yield from self._forks()
        for part in parts:
            for proof in part():
                yield proof.NAME, self._file([proof.encode()], [])
        for proof, halves, profiles in verdicts.false(self.logs, self.files):
            yield proof.NAME, self._file([proof.encode()], [], halves, profiles)

    def handed(self, forks: Iterable[bytes], proofs: Iterable[bytes]) -> Iterator[Found]:
        """Proofs that somebody else made, each in a file of its own."""
        for data in forks:
            yield "device fork", self._file([], [data])
        for data in proofs:
            yield "proof", self._file([data], [])

    def _file(
        self,
        proofs: list[bytes],
        forks: list[bytes],
        halves: Iterable[Half] = (),
        profiles: Iterable[bytes] = (),
    ) -> EvidenceFile:
        # The credentials that a proof needs are those whose ids stand in it, and all services'.
        data = b"".join([*proofs, *forks, *(half.encode() for half in halves)])
        needed = [
            statements
            for id_, sub, subject, statements in self._known
            if subject != SUBJECT_DEVICE or id_ in data or sub in data
        ]
        entries: list[tuple[bytes, list[bytes]]] = []
        for log in self.logs:
            if log.genesis is not None and log.genesis not in [one[0] for one in entries]:
                entries.append((log.genesis, []))
        return EvidenceFile(
            needed, list(profiles), list(halves), entries, [], [], None, [],
            forks=forks, proofs=proofs,
        )  # fmt: skip

    # --- devices ---------------------------------------------------------------------------

    def _heads(self) -> dict[Place, list[Checkpoint]]:
        found: dict[Place, dict[bytes, Checkpoint]] = {}
        for log in self.logs:
            for place, heads in log.heads.items():
                for _, head in heads:
                    found.setdefault(place, {})[head.digest] = head
        return {
            place: sorted(heads.values(), key=lambda one: (one.size, one.boot, one.uptime_ms))
            for place, heads in sorted(found.items())
        }

    def _forks(self) -> Iterator[Found]:
        """Two roots of one size; for other sizes only who holds the leaves can show a path."""
        for heads in self._heads().values():
            for one, other in itertools.pairwise(heads):
                if one.size == other.size and one.root != other.root:
                    proof = forkproof.between(one, other, None)
                    yield "device fork", self._file([], [proof.encode()])
                    break

    def _disorders(self) -> Iterator[Proof]:
        for heads in self._heads().values():
            counted: Checkpoint | None = None
            for one, other in itertools.pairwise(heads):
                counted = one if one.counter is not None else counted
                proof = _first(_disorder(before, other) for before in (one, counted) if before)
                if proof is not None:
                    yield proof
                    break

    def _revivals(self) -> Iterator[Proof]:
        opened: dict[Place, tuple[bytes, Half, Checkpoint]] = {}
        for half in self.halves:
            previous = previous_of(half.record) if half.index == 0 else None
            if previous is not None:
                head = checkpoints.parse(half.checkpoint)
                opened[head.device, previous[0]] = (head.epoch, half, head)
        receipts: dict[bytes, CustodyReceipt] = {
            one.digest: one for log in self.logs for _, one in log.custody
        }
        for (device, epoch), heads in self._heads().items():
            chain: list[Half] = []
            at = epoch
            while (device, at) in opened and len(chain) < EPOCHS_FOLLOWED_MAX:
                at, half, _ = opened[device, at]
                chain.append(half)
                proof = _first(_revived(head, chain, receipts) for head in heads)
                if proof is not None:
                    yield proof
                    break

    def _gaps(self) -> Iterator[Proof]:
        for log in self.logs:
            by_device: dict[bytes, list[int]] = {}
            for (device, _), heads in log.heads.items():
                by_device.setdefault(device, []).extend(at for at, _ in heads)
            for device, places in sorted(by_device.items()):
                statements = self.credentials.get(device)
                if statements is None:
                    continue
                interval_ms = enrolment.parse(statements[0]).interval_s * 1000
                longest = _longest(log, device, sorted(places), interval_ms)
                if longest is not None:
                    yield longest

    # --- logs ------------------------------------------------------------------------------

    def _equivocations(self) -> Iterator[Proof]:
        notes = [*(log.note for log in self.logs), *self.notes]
        seen: set[str] = set()
        for log in self.logs:
            for note in notes:
                if note.origin != log.origin or note.size > log.size or log.origin in seen:
                    continue
                tree = Tree()
                tree.extend(log.leaves[: note.size])
                if tree.root() == note.root:
                    continue
                inside = None
                if note.size < log.size:
                    inside = [tree.root(), consistency_path(log.leaves, note.size)]
                seen.add(log.origin)
                yield Equivocation(note.text(), log.note.text(), inside)


def _first(made: Iterable[Proof | None]) -> Proof | None:
    return next((one for one in made if one is not None), None)


def _credentials(
    logs: Sequence[LogCopy], files: Sequence[EvidenceFile]
) -> dict[bytes, list[bytes]]:
    # Of one id's credentials the longest: it may hold a revocation.
    found: dict[bytes, list[bytes]] = {}
    given = [statements for file in files for statements in file.credentials]
    for statements in [*given, *(one for log in logs for one in log.credentials.values())]:
        id_ = enrolment.parse(statements[0]).id
        if len(found.get(id_, ())) < len(statements):
            found[id_] = list(statements)
    return found


def _disorder(one: Checkpoint, other: Checkpoint) -> Proof | None:
    try:
        return Disorder(one.encode(), other.encode())
    except TallyError:
        return None


def _revived(
    head: Checkpoint, chain: list[Half], receipts: dict[bytes, CustodyReceipt]
) -> Proof | None:
    receipt = receipts.get(head.custody or b"")
    lineage = [half.encode() for half in chain]
    for given in (None, receipt):
        try:
            return Revived(head.encode(), lineage, None if given is None else given.encode())
        except TallyError:
            continue
    return None


def _longest(log: LogCopy, device: bytes, places: list[int], interval_ms: int) -> Proof | None:
    """The longest gap between heads of a device for which the log was there to hear."""
    gaps = []
    for at, following in zip(places, [*places[1:], log.size], strict=True):
        gap_ms = log.times_ms[following - 1] - log.times_ms[at]
        if gap_ms > interval_ms + ON_ITS_WAY_MS_MAX:
            gaps.append((gap_ms, at, following))
    for _, at, following in sorted(gaps, reverse=True)[:GAPS_TRIED_MAX]:
        heard = [at, *(n for n in range(at, following) if isinstance(log.parsed[n], TimeEntry))]
        pauses = (log.times_ms[b] - log.times_ms[a] for a, b in itertools.pairwise(heard))
        if len(heard) < 2 or max(pauses) > interval_ms:
            continue
        begin = at
        while begin > 0 and not isinstance(log.parsed[begin], TimeEntry):
            begin -= 1
        try:
            wanted = set(range(begin, heard[-1] + 1))
            return Missed(device, extract.cut(log.entries, log.note, begin, wanted))
        except TallyError:
            continue
    return None
