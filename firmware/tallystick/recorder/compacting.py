# Making room in a full journal, a piece at a time (docs/recorder.md, "The journal").  A file is
# written anew with less in it, synced, named, and only then is the old one removed.  Loaded when
# the journal is full, and forgotten afterwards.

from hashlib import sha256

from tallystick.evidence.cbor import read_head
from tallystick.evidence.errors import Malformed
from tallystick.evidence.eventwriter import encode_event
from tallystick.evidence.tree import node_hash
from tallystick.recorder.files import BLOCK, forget
from tallystick.recorder.frames import (
    CHECK_SIZE,
    HEADER,
    LEAF,
    PAYLOAD,
    RECORD_MAJOR,
    SEED,
    SIGNATURE,
    SUBTREE,
    control,
    leaf_frame,
)
from tallystick.recorder.giving import KINDS, mark_given, mark_told
from tallystick.recorder.journal import LESS, SEALING_BYTES, Journal, JournalFile
from tallystick.recorder.walking import Frame, Walker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Any

    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.recorder import Recorder

    # (level, hash, claims, kind where it is a leaf)
    Node = tuple[int, bytes, int, int]
    Work = Generator[None, None, bool]

# Read in one step.
STEP_BYTES = 2048
# A file is not written anew for less.
GAIN_BYTES_MIN = 256
# The kinds whose bodies go at each level: decisions; the same, and runs of hashes are collapsed;
# events; claims and accepted halves.
GOING = ((), (0,), (0,), (0, 2), (0, 1, 2, 3))
LEVEL_MAX = 4
COLLAPSE_LEVEL = 2
CLAIM, EVENT = 1, 2
# What tells of losses stays.
KEPT_EVENTS = (b"gap", b"epoch")
# A leaf frame; a shorter record saves nothing.
LEAF_FRAME_SIZE = 43
HEAD_BYTES = 48
RETRY_MS = 1000
# Below: parts of the header of a file that is not the newest, which nobody asks for.
PENDING, CUSTODY, PAST, LASTING = 10, 11, 12, 15
HERE = ("recorder.compacting", "recorder.giving", "evidence.eventwriter")


class Rewriting:
    """One file at a level: what it becomes, and what it loses that is in no custody."""

    def __init__(
        self, journal: Journal, file: JournalFile, level: int, known: int, last: int = 0
    ) -> None:
        self.file = file
        self.level = level
        self._files = journal.files
        # What lies below is in custody, and no loss.
        self.known = known
        self.size = 0
        self.counts = [0, 0, 0, 0]
        self.first = -1
        self.to = 0
        # How far it was read.
        self.at = 0
        # The index that comes next, the size at the last checkpoint, and the numbers of those that
        # only repeat a head.  The last one of a file stays: the next one begins with it.
        self._index = self._sealed = 0
        self._idle: "list[int]" = []
        self._last = last
        self.last = 0
        self._seed = b""
        self._seed_frame = b""
        self._run: "list[Node]" = []

    def pieces(self) -> "Iterator[bytes]":
        """The new file's bytes."""
        walker = Walker(self._files, self.file.name)
        try:
            frame = walker.next()
            values: "list[Any]" = walker.values(frame) if frame is not None else [None]
            if values[0] != HEADER:
                raise Malformed("truncated", "a file of the journal has no header")
            self._index = self._sealed = values[4]
            values[PENDING] = values[PENDING][-1:]
            values[CUSTODY] = None
            values[PAST] = []
            yield control(values[:LASTING])
            while frame is not None:
                self.at = walker.at
                frame = walker.next()
                if frame is None:
                    break
                if frame.major == RECORD_MAJOR:
                    yield from self._record(walker, frame)
                else:
                    yield from self._control(walker, frame)
            yield from self._flush()
        finally:
            walker.close()

    def _record(self, walker: Walker, frame: Frame) -> "Iterator[bytes]":
        begin = walker.content(frame, HEAD_BYTES)
        kind = begin[1] if len(begin) > 1 else 0
        index = self._index
        self._index += 1
        if not self._goes(frame, kind, begin):
            yield from self._flush()
            # The seed stands before the first body that needs it.
            if self._seed_frame:
                yield self._seed_frame
                self._seed_frame = b""
            yield from walker.pieces(frame.at, frame.end, BLOCK)
            return
        leaf = self._leaf(walker, frame, index)
        if index >= self.known:
            self.counts[kind] += 1
            self.to = index + 1
            if self.first < 0:
                self.first = index
        yield from self._node(index, (0, leaf, int(kind == CLAIM), kind))

    def _goes(self, frame: Frame, kind: int, begin: bytes) -> bool:
        if frame.end - frame.at <= LEAF_FRAME_SIZE and self.level < COLLAPSE_LEVEL:
            return False
        if self._index <= self.known:
            return True  # in custody
        if kind not in GOING[self.level]:
            return False
        if kind == EVENT:
            _, _, at = read_head(begin, 2)
            _, size, at = read_head(begin, at)
            return begin[at : at + size] not in KEPT_EVENTS
        return True

    def _leaf(self, walker: Walker, frame: Frame, index: int) -> bytes:
        if not self._seed:
            raise Malformed("bad-value", "the journal has a record without its seed")
        pair = sha256(self._seed + (index >> 1).to_bytes(8, "big")).digest()
        state = sha256(b"\x00")
        state.update(pair[16:] if index & 1 else pair[:16])
        for piece in walker.pieces(frame.begin, frame.end, BLOCK):
            state.update(piece)
        leaf = state.digest()
        if leaf[:CHECK_SIZE] != frame.check:
            raise Malformed("bad-value", "the journal is damaged in record %d" % index)
        return leaf

    def _control(self, walker: Walker, frame: Frame) -> "Iterator[bytes]":
        values = walker.values(frame)
        kind = values[0]
        if kind == LEAF:
            node = (0, values[1], int(values[2] == CLAIM), values[2])
            self._index += 1
            yield from self._node(self._index - 1, node)
        elif kind == SUBTREE:
            index = self._index
            self._index += 1 << values[1]
            yield from self._node(index, (values[1], values[2], values[3], 0))
        elif kind == SEED:
            self._seed = values[2]
            self._seed_frame = control(values)
        elif kind == PAYLOAD:
            # No run crosses a checkpoint.
            yield from self._flush()
            self._seed = self._seed_frame = b""
            self.last = values[1]
            repeats = self._index == self._sealed and self.last != self._last
            self._sealed = self._index
            if repeats and self.level >= COLLAPSE_LEVEL:
                self._idle.append(self.last)
            else:
                yield control(values)
        elif kind == SIGNATURE and values[1] not in self._idle:
            yield control(values)
        # All else stands in the next file's header.

    def _node(self, index: int, node: "Node") -> "Iterator[bytes]":
        if self.level < COLLAPSE_LEVEL:
            yield _frame(node)
            return
        level, value, claims, kind = node
        run = self._run
        # The one before is of the same width and its left-hand sibling.
        while run and run[-1][0] == level and index >> level & 1:
            _, left, more, _ = run.pop()
            value = node_hash(left, value)
            claims += more
            index -= 1 << level
            level += 1
        run.append((level, value, claims, kind))

    def _flush(self) -> "Iterator[bytes]":
        for node in self._run:
            yield _frame(node)
        self._run = []


def _frame(node: "Node") -> bytes:
    level, value, claims, kind = node
    if level:
        return control([SUBTREE, level, value, claims])
    return leaf_frame(kind, value)


def step(tally: "Recorder", now_ms: int) -> bool:
    """A bounded piece of making room, or of telling what was given up; False for nothing."""
    ledger = tally._ledger
    journal = ledger.journal
    if now_ms < journal.retry_ms:
        return False
    if journal.work is None:
        journal.work = _working(tally)
    try:
        next(journal.work)
    except StopIteration as end:
        worked = bool(end.value)
    except Exception as error:  # noqa: BLE001  # a flash driver's, or a damaged file
        journal.retry_ms = now_ms + RETRY_MS
        ledger.fault("journal", "compact", error)
        worked = _clean(journal)
    else:
        return True
    journal.work = None
    journal.aside = 0
    # What is noted is done, and not freed before.
    noted = _noted(ledger)
    journal.compacting = noted.number if noted is not None else 0
    forget(HERE)
    return worked


def _clean(journal: Journal) -> bool:
    # What was begun takes no room until it is begun again; opening looks for it too.
    try:
        journal.files.remove(LESS)
    except OSError:
        pass
    return False


def _working(tally: "Recorder") -> "Work":
    ledger = tally._ledger
    journal = ledger.journal
    if journal.leftover:
        journal.files.remove(journal.leftover)
        journal.leftover = ""
    if ledger.log.untold and _tell(ledger):
        return True
    if not journal.tight() and not _noted(ledger):
        return False
    file = journal.list[0]
    if len(journal.list) > 1 and file.epoch != ledger.log.epoch:
        _remove_left(ledger)
        return True
    chosen = yield from _choose(ledger)
    if chosen is None:
        journal.stuck = journal.list[-1].number
        return False
    yield from _replace(tally, chosen)
    if "journal:compact" in ledger.failing:
        from tallystick.recorder.troubles import works  # noqa: PLC0415  # rarely

        works(ledger, "journal:compact")
    return True


def _remove_left(ledger: "Ledger") -> None:
    # The oldest file, of an epoch that was left; nothing of it is sent any more.
    journal = ledger.journal
    with ledger.lock:
        file = journal.list[0]
        journal.files.remove(file.name)
        journal.list.pop(0)
        journal.used -= file.size


def _noted(ledger: "Ledger") -> JournalFile | None:
    # The file of which is noted what it loses, where it was not replaced yet.
    told = ledger.log.told
    for file in ledger.journal.list[:-1]:
        if told and file.number == told[0] and file.level < told[1]:
            return file
    return None


def _choose(ledger: "Ledger") -> "Generator[None, None, Rewriting | None]":
    # Oldest files first, level after level.
    journal = ledger.journal
    log = ledger.log
    tried = {file.number: journal.tried.get(file.number, 0) for file in journal.list}
    journal.tried = tried
    known = log.custody[0] if log.custody else 0
    file = _noted(ledger)
    if file is not None:
        made = Rewriting(journal, file, log.told[1], known)
        try:
            yield from _measure(journal, made)
        except Malformed:
            # It stays as it is: it cannot be read any more.
            log.told = []
            raise
        return made
    for level in range(1, LEVEL_MAX + 1):
        for file in journal.list[:-1]:
            if max(file.level, tried[file.number]) >= level:
                continue
            made = Rewriting(journal, file, level, known)
            try:
                yield from _measure(journal, made)
            except Malformed as error:
                ledger.fault("journal", "read", error)
                tried[file.number] = LEVEL_MAX
                continue
            if file.size - made.size < GAIN_BYTES_MIN:
                tried[file.number] = level
            elif max(journal.used, journal.limit) + made.size + SEALING_BYTES <= journal.bytes_max:
                return made
    return None


def _measure(journal: Journal, made: Rewriting) -> "Generator[None, None, None]":
    # Not freed meanwhile.
    journal.compacting = made.file.number
    begun = 0
    for piece in made.pieces():
        made.size += len(piece)
        if made.at - begun >= STEP_BYTES:
            begun = made.at
            yield


def _replace(tally: "Recorder", made: Rewriting) -> "Generator[None, None, None]":
    ledger = tally._ledger
    journal = ledger.journal
    files = journal.files
    file = made.file
    journal.aside = made.size
    yield from _write(journal, Rewriting(journal, file, made.level, made.known, made.last))
    if not _note(ledger, made):
        files.remove(LESS)
        return
    journal.sync(ledger.lock)
    while not _let_go(tally, file.number):
        yield
    with ledger.lock:
        size = files.size(LESS)
        old, before = file.name, file.level
        file.level = made.level
        try:
            files.rename(LESS, file.name)
        except OSError:
            file.level = before
            raise
        journal.used += size - file.size
        file.size = size
    # Kept in mind, should the flash fail now: it must not come back when the new one is freed.
    journal.leftover = old
    files.remove(old)
    journal.leftover = ""


def _write(journal: Journal, made: Rewriting) -> "Generator[None, None, None]":
    files = journal.files
    files.remove(LESS)
    handle = files.appending(LESS)
    try:
        data = bytearray()
        begun = 0
        for piece in made.pieces():
            data += piece
            if len(data) >= BLOCK:
                files.write(handle, bytes(data))
                data = bytearray()
            if made.at - begun >= STEP_BYTES:
                begun = made.at
                yield
        files.write(handle, bytes(data))
        files.sync(handle)
    finally:
        handle.close()


def _note(ledger: "Ledger", made: Rewriting) -> bool:
    # What this file loses, before it does; False when it cannot be written now.
    with ledger.lock:
        log = ledger.log
        file = made.file
        if file not in ledger.journal.list or file.epoch != log.epoch:
            return False
        if made.first < 0 or log.told == [file.number, made.level]:
            return True
        before = log.told, log.hollow, log.untold
        frame = mark_given(log, file.number, made.level, made.first, made.to, *made.counts)
        if not ledger.append(frame, reserved=True):
            log.told, log.hollow, log.untold = before
            return False
        given = ledger.health.given_up
        for kind, count in enumerate(made.counts):
            if count:
                given[KINDS[kind]] = given.get(KINDS[kind], 0) + count
        return True


def _let_go(tally: "Recorder", number: int) -> bool:
    # Flash file systems do not keep what an open file holds when it is removed.
    sender, downlink, link = tally._sender, tally._downlink, tally._link
    if downlink is not None and downlink.reading:
        return False
    if sender is None or link is None:
        return True
    return sender.let_go(number, link)


def _tell(ledger: "Ledger") -> bool:
    """Record what was given up, before all that waits to be written; False when it cannot be."""
    log = ledger.log
    first, to = log.untold[:2]
    counts = log.untold[2:]
    details: "dict[str, Any]" = {"dropped": sum(counts), "reason": "full"}
    details["first"] = first
    details["to"] = to
    for kind, count in enumerate(counts):
        if count:
            details[KINDS[kind]] = count
    record = encode_event(ledger.clock.uptime_ms(), "gap", details)
    with ledger.lock:
        with ledger.gate:
            # Those are salted for the places that they will have.
            if ledger.leaves:
                return False
            ledger.queue.insert(0, record)
            ledger.held += len(record)
            ledger.health.records += 1
        ledger.write()
        with ledger.gate:
            if ledger.queue and ledger.queue[0] is record:
                ledger.queue.pop(0)
                ledger.held -= len(record)
                ledger.health.records -= 1
                return False
        mark_told(log, details)
    return True
