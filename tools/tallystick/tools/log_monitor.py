"""`tally log monitor`: follow validators' logs, and see that each has one history, all the same.

A round reads what is new of each log, folds it into the tree that was verified before, and compares
what the logs say of each device and interaction. What contradicts is kept, with what proves it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Malformed, TallyError, Unverified
from tallystick.evidence.headproofs import Equivocation
from tallystick.evidence.keys import b64u
from tallystick.evidence.note import Note, NoteKey
from tallystick.evidence.proof import verify_consistency
from tallystick.evidence.tree import Tree, consistency_from_nodes
from tallystick.tools.log_source import LogSource
from tallystick.tools.log_state import Followed, Found, State
from tallystick.tools.log_verify import note_key
from tallystick.verify import logcompare, logread
from tallystick.verify.devicekeys import Signatures
from tallystick.verify.logcheck import LogCheck, Told
from tallystick.verify.logcompare import Difference, Question
from tallystick.verify.logread import TileNodes
from tallystick.verify.witnesses import Witnesses

QUESTIONS_PER_ROUND_MAX = 256
Inside = tuple[bytes, list[bytes]]  # the root at the smaller size, and the path


@dataclass
class Round:
    """What one round found, by log and across them."""

    logs: dict[str, str] = field(default_factory=dict)  # where: what was seen of it
    failed: dict[str, str] = field(default_factory=dict)  # where: why it could not be followed
    new: list[Found] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    not_asked: int = 0


def _asked(question: Question) -> tuple[bytes, bytes, int]:
    # By what the logs hold, signatures too, which a statement's digest leaves out; and once more
    # when a key is known with which they can be verified.
    keys = len(question.heads.keys(question.device))
    return sha256(question.small.data), sha256(question.large.data), keys


def _prefix(source: LogSource, size: int, note: Note) -> Inside:
    """The root at a smaller size of a signed tree, by its tiles, with the path that proves it."""
    nodes = TileNodes(source.fetch, note.size)
    path = consistency_from_nodes(nodes, size, note.size) if size else []
    root = nodes.root(size)
    verify_consistency(size, root, note.size, note.root, path)
    return root, path


class Monitor:
    """Follows logs; `pinned` are their note keys by origin, where they are known."""

    def __init__(
        self,
        sources: Sequence[LogSource],
        state: State,
        pinned: Sequence[NoteKey] = (),
        witnesses: Witnesses | None = None,
    ) -> None:
        self._sources = sources
        self.state = state
        self._pinned = {key.name: key for key in pinned}
        self._witnesses = witnesses or Witnesses()
        # Pairs of heads that were compared, so that they are not asked for again.
        self._answered: set[tuple[bytes, bytes, int]] = set()
        self._signatures = Signatures()

    def round(self) -> Round:
        """Follow each log, then compare them."""
        done = Round()
        for source in self._sources:
            try:
                done.logs[source.where] = self._follow(source, done)
            except TallyError as error:
                done.failed[source.where] = f"{error.message} ({error.reason})"
        told = {
            source.where: self.state.logs[source.where].told
            for source in self._sources
            if source.where in self.state.logs
        }
        self._compare(told, done)
        return done

    # --- one log -----------------------------------------------------------------------------

    def _follow(self, source: LogSource, done: Round) -> str:
        known = self.state.logs.get(source.where)
        note = source.checkpoint()
        key = known.key if known is not None else note_key(source, note, self._key(note.origin))
        if note.origin != key.name:
            raise Unverified("wrong-key", f"it shows the log {note.origin}, and was {key.name}")
        pinned = self._key(key.name)
        if pinned is not None and pinned != key:
            raise Unverified("wrong-key", "the key that was given is not the one of this log")
        note.verify(key)
        self._one_log(source, note, key, done)
        if known is not None and note.size <= known.note.size:
            return self._not_larger(source, known, note, done)
        found = self._read(source, known, note, key, done)
        self._witnesses.demand(note, key, int(time.time()))
        before = 0 if known is None else known.note.size
        return f"size {found.note.size:,}, {found.note.size - before:,} new entries"

    def _key(self, origin: str) -> NoteKey | None:
        return self._pinned.get(origin)

    def _one_log(self, source: LogSource, note: Note, key: NoteKey, done: Round) -> None:
        """The same log at another address must not show another root of the same size."""
        for where, other in self.state.logs.items():
            same = other.key == key and other.note.size == note.size
            if where != source.where and same and other.note.root != note.root:
                self._split(source.where, other.note, note, done)

    def _not_larger(self, source: LogSource, known: Followed, note: Note, done: Round) -> str:
        """A checkpoint that is not newer must be a prefix of what was read."""
        if note.size == known.note.size:
            if note.root != known.note.root:
                raise self._split(source.where, known.note, note, done)
            return f"size {note.size:,}, nothing new"
        inside = _prefix(source, note.size, known.note)
        if inside[0] != note.root:
            raise self._split(source.where, note, known.note, done, inside)
        return f"size {note.size:,}, older than {known.note.size:,} that was seen before"

    def _read(
        self, source: LogSource, known: Followed | None, note: Note, key: NoteKey, done: Round
    ) -> Followed:
        check = LogCheck(key.name, key) if known is None else known.check()
        tree = Tree() if known is None else known.tree
        try:
            tree = logread.follow(source.fetch, tree, note, check.entry)
        except Unverified as error:
            if known is not None and error.reason == "bad-root":
                self._forked(source, known, note, done)
            raise
        made = Followed(note, key, check.receipt_key, tree, check.time_ms, check.told)
        self.state.logs[source.where] = made
        return made

    def _forked(self, source: LogSource, known: Followed, note: Note, done: Round) -> None:
        """The new entries do not extend the old tree: look whether the new tree is another one."""
        try:
            inside = _prefix(source, known.note.size, note)
        except TallyError:
            return  # what it serves does not even give what it signed: nothing is proven
        if inside[0] != known.note.root:
            raise self._split(source.where, known.note, note, done, inside)

    def _split(
        self, where: str, small: Note, large: Note, done: Round, inside: Inside | None = None
    ) -> Unverified:
        says = f"{small.origin} signed two histories: two roots at size {small.size:,}"
        if inside is not None:
            says += f", of which one is inside its size {large.size:,}"
        array = None if inside is None else [inside[0], inside[1]]
        proof = Equivocation(small.text(), large.text(), array)
        found = Found("two-histories", [where], says, int(time.time()), b64u(proof.encode()))
        if self.state.add(found):
            done.new.append(found)
        return Unverified("fork", says)

    # --- several logs ------------------------------------------------------------------------

    def _compare(self, told: dict[str, Told], done: Round) -> None:
        differences, questions = logcompare.compare(told, self._signatures)
        for difference in differences:
            self._difference(difference, done)
        open_ = [one for one in questions if _asked(one) not in self._answered]
        for question in open_[:QUESTIONS_PER_ROUND_MAX]:
            self._ask(question, done)
        done.not_asked += max(0, len(open_) - QUESTIONS_PER_ROUND_MAX)

    def _ask(self, question: Question, done: Round) -> None:
        source = next(one for one in self._sources if one.where == question.asked)
        if not source.is_server:
            done.not_asked += 1
            return
        try:
            root, path = source.consistency(
                question.device, question.epoch, question.small.size, question.large.size
            )
            found = question.answer(root, path)
        except (Malformed, Unverified) as error:
            done.failed[source.where] = f"a device's path does not hold: {error.message}"
            return
        except TallyError:
            # Where it has no hashes between, it cannot show the path.
            done.not_asked += 1
            return
        self._answered.add(_asked(question))
        for one in found:
            self._difference(one, done)

    def _difference(self, difference: Difference, done: Round) -> None:
        done.differences.append(difference)
        if difference.contradiction:
            now_s = int(time.time())
            found = Found(difference.kind, list(difference.logs), difference.says, now_s, "")
            if self.state.add(found):
                done.new.append(found)
