# What a file of the journal becomes when bodies are given up (docs/recorder.md, "The journal").
# Loaded while one is compacted.  Frames are taken apart by hand: the decoder needs heap.

from hashlib import sha256

from tallystick.evidence.errors import Malformed
from tallystick.evidence.tree import node_hash
from tallystick.recorder.files import Files
from tallystick.recorder.frames import (
    CHECK_SIZE,
    CONTROL_MAJOR,
    HEADER,
    LEAF,
    PAYLOAD,
    SEED,
    SIGNATURE,
    SUBTREE,
    control,
    leaf_frame,
)
from tallystick.recorder.walking import Frame, Walker, read_head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.recorder.journal import JournalFile

    # (level, hash, claims, kind where it is a leaf)
    Node = tuple[int, bytes, int, int]
    # File, level, `known`, `last`, size, first, to, counts.
    Plan = tuple[JournalFile, int, int, int, int, int, int, list[int]]

# The kinds whose bodies go at each level, as bits: decisions; the same, and runs of hashes are
# collapsed; events; claims and accepted halves.
GOING = (0, 1, 1, 5, 15)
COLLAPSE_LEVEL = 2
CLAIM, EVENT = 1, 2
# What tells of losses stays.
KEPT_EVENTS = (b"gap", b"epoch")
# A leaf frame; a shorter record saves nothing.
LEAF_FRAME_SIZE = 43
HEAD_BYTES = 48
# Copied at once: small, since the heap is in pieces.
COPY_BYTES = 128
# Frames that are looked into; a header is copied.
KEPT = (SEED, PAYLOAD, SIGNATURE, LEAF, SUBTREE)


class Rewriting:
    """One file at a level: what it becomes, and what it loses that is in no custody."""

    def __init__(
        self, files: Files, file: "JournalFile", level: int, known: int, last: int = 0
    ) -> None:
        self.file = file
        self.level = level
        # What lies below is in custody, and no loss.
        self.known = known
        # How many bodies of each kind go, and among which indexes.
        self.counts = [0, 0, 0, 0]
        self.first = -1
        self.to = 0
        # What it was found to take, where that was measured, and how far it was read.
        self.size = self.at = 0
        # The number of its last checkpoint, which stays also where it repeats a head: the next file
        # begins with it.
        self.last = last
        self._walker = Walker(files, file.name)
        self._index = self._sealed = file.first
        self._idle: "list[int]" = []
        self._seed = self._seed_frame = b""
        self._run: "list[Node]" = []

    def plan(self) -> "Plan":
        """What was found when all pieces were taken, without what is needed to make them."""
        found = (self.file, self.level, self.known, self.last)
        return found + (self.size, self.first, self.to, self.counts)

    def pieces(self) -> "Iterator[bytes]":
        """The new file's bytes."""
        walker = self._walker
        try:
            while True:
                frame = walker.next()
                if frame is None:
                    break
                self.at = walker.at
                if frame.major == CONTROL_MAJOR:
                    yield from self._control(walker, frame)
                else:
                    yield from self._record(walker, frame)
            yield from self._flush()
        finally:
            walker.close()

    def _record(self, walker: Walker, frame: Frame) -> "Iterator[bytes]":
        begin = walker.content(frame, HEAD_BYTES)
        kind = begin[1]
        index = self._index
        if self._goes(frame, kind, begin):
            leaf = self._leaf(walker, frame, index)
            if index >= self.known:
                self.counts[kind] += 1
                self.to = index + 1
                if self.first < 0:
                    self.first = index
            yield from self._node(0, leaf, int(kind == CLAIM), kind)
            return
        self._index += 1
        yield from self._flush()
        # The seed stands before the first body that needs it.
        if self._seed_frame:
            yield self._seed_frame
            self._seed_frame = b""
        yield from walker.pieces(frame.at, frame.end, COPY_BYTES)

    def _goes(self, frame: Frame, kind: int, begin: bytes) -> bool:
        if frame.end - frame.at <= LEAF_FRAME_SIZE and self.level < COLLAPSE_LEVEL:
            return False
        if self._index < self.known:
            return True  # in custody
        if not GOING[self.level] >> kind & 1:
            return False
        if kind == EVENT:
            at = read_head(begin, 2)[2]
            _, size, at = read_head(begin, at)
            return begin[at : at + size] not in KEPT_EVENTS
        return True

    def _leaf(self, walker: Walker, frame: Frame, index: int) -> bytes:
        pair = sha256(self._seed + (index >> 1).to_bytes(8, "big")).digest()
        state = sha256(b"\x00")
        state.update(pair[16:] if index & 1 else pair[:16])
        for piece in walker.pieces(frame.begin, frame.end, COPY_BYTES):
            state.update(piece)
        leaf = state.digest()
        if leaf[:CHECK_SIZE] != frame.check:
            raise Malformed("bad-value", "the journal is damaged in record %d" % index)
        return leaf

    def _control(self, walker: Walker, frame: Frame) -> "Iterator[bytes]":
        # An array whose first element, a number below 24, says what it is.
        what = walker.content(frame, 2)[1]
        number = 0
        if what in KEPT:
            content = walker.content(frame)
            if sha256(content).digest()[:CHECK_SIZE] != frame.check:
                raise Malformed("bad-value", "the journal is damaged at byte %d" % frame.at)
            _, number, at = read_head(content, 2)
        if what == LEAF:
            yield from self._node(0, content[4:36], int(content[36] == CLAIM), content[36])
        elif what == SUBTREE:
            node = content[at + 2 : at + 34]
            yield from self._node(number, node, read_head(content, at + 34)[1], 0)
        elif what == SEED:
            self._seed = content[-32:]
            self._seed_frame = control([SEED, number, self._seed])
        elif what == PAYLOAD:
            # No run crosses a checkpoint.
            yield from self._flush()
            self._seed = self._seed_frame = b""
            repeats = self._index == self._sealed and number != self.last
            self._sealed = self._index
            self.last = max(self.last, number)
            if repeats and self.level >= COLLAPSE_LEVEL:
                self._idle.append(number)
            else:
                yield from walker.pieces(frame.at, frame.end, COPY_BYTES)
        elif what == HEADER or (what == SIGNATURE and number not in self._idle):
            yield from walker.pieces(frame.at, frame.end, COPY_BYTES)
        # All else stands in the next file's header.

    def _node(self, level: int, value: bytes, claims: int, kind: int) -> "Iterator[bytes]":
        index = self._index
        self._index += 1 << level
        run = self._run
        # The one before is of the same width and its left-hand sibling.
        while run and run[-1][0] == level and index >> level & 1:
            _, left, more, _ = run.pop()
            value = node_hash(left, value)
            claims += more
            index -= 1 << level
            level += 1
        run.append((level, value, claims, kind))
        if self.level < COLLAPSE_LEVEL:
            yield from self._flush()

    def _flush(self) -> "Iterator[bytes]":
        for level, value, claims, kind in self._run:
            if level:
                yield control([SUBTREE, level, value, claims])
            else:
                yield leaf_frame(kind, value)
        self._run = []
