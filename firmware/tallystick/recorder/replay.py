# Opening a journal: what its newest file tells, cut where a power cut tore it.  Loaded at boot and
# forgotten again.

from tallystick.evidence.cbor import decode
from tallystick.evidence.errors import KeyDriverError, Malformed
from tallystick.evidence.kinds import CLAIM, EVENT
from tallystick.evidence.tree import Tree
from tallystick.recorder import frames
from tallystick.recorder.core import RECORD_ROOM, Log
from tallystick.recorder.files import BLOCK
from tallystick.recorder.filing import bound, cut, mark_past
from tallystick.recorder.frames import (
    BOOT,
    CONTROL_MAJOR,
    COUNTER,
    CUSTODY,
    GIVEN,
    HEADER,
    HOLD,
    KEY,
    LEAF,
    PAST,
    PAYLOAD,
    RECORD_MAJOR,
    SEED,
    SIGNATURE,
    SUBTREE,
)
from tallystick.recorder.journal import CUT, LESS, SUFFIX, TEMPORARY, Journal, JournalFile
from tallystick.recorder.walking import Walker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Bytes of a signature's frame before its content: check, and the head of 69 to 77 bytes.
SIGNATURE_CONTENT = frames.CHECK_SIZE + 2
# No file of ours is shorter: its header holds a device and an epoch.
HEADER_BYTES_MIN = 64


def open_journal(journal: Journal, device: bytes) -> Log | None:
    """The log as the newest file tells it; None without one. `journal.damage` ends its epoch."""
    names = journal.files.names()
    for name in (TEMPORARY, CUT, LESS):
        # Left by a stop before its rename: nothing in it was ever relied upon.
        if name in names:
            journal.files.remove(name)
    for name in names:
        file = _named(journal, name)
        if file is not None:
            journal.list.append(file)
    journal.list.sort(key=_order)
    _drop_replaced(journal)
    if not journal.list:
        return None
    newest = journal.list[-1]
    log = _open_newest(journal, newest)
    epoch = newest.epoch
    later = newest
    for at in range(len(journal.list) - 2, -1, -1):
        file = journal.list[at]
        if not later.first:
            epoch = b""  # of an epoch that was left
        file.epoch = epoch
        journal.unreadable += later.number - file.number - 1 + (file.size < HEADER_BYTES_MIN)
        later = file
    if log is not None:
        if log.device != device:
            raise KeyDriverError(
                "wrong-key",
                "the journal in %s belongs to another device: restore its key, or name another"
                " journal folder" % journal.files.folder,
            )
        bound(log, journal)
        for file in journal.list:
            if log.told and file.number == log.told[0] and file.level < log.told[1]:
                journal.compacting = file.number
    return log


def _order(file: JournalFile) -> "tuple[int, int]":
    return file.number, file.level


def _named(journal: Journal, name: str) -> JournalFile | None:
    # What a file's name tells; None for a file that is none of ours.
    parts = name[: -len(SUFFIX)].split("-")
    if not name.endswith(SUFFIX) or len(parts) not in (1, 3):
        return None
    for part in parts:
        if not part.isdigit():
            return None
    size = journal.files.size(name)
    file = JournalFile(int(parts[0]), b"", 0, size)
    if len(parts) == 1:
        _rename(journal, file, name)
    else:
        file.first, file.level = int(parts[1]), int(parts[2])
    journal.used += size
    return file


def _rename(journal: Journal, file: JournalFile, name: str) -> None:
    # As journals were named before names told where a file begins.
    walker = Walker(journal.files, name)
    try:
        file.first = _header(walker)[4]
    except (Malformed, IndexError):
        return  # what it is will show when it is read
    finally:
        walker.close()
    journal.files.rename(name, file.name)


def _drop_replaced(journal: Journal) -> None:
    # The power went between a file's compaction and the removal of what it replaced.
    for at in range(len(journal.list) - 2, -1, -1):
        if journal.list[at].number == journal.list[at + 1].number:
            file = journal.list.pop(at)
            journal.files.remove(file.name)
            journal.used -= file.size


def _open_newest(journal: Journal, file: JournalFile) -> Log | None:
    walker = Walker(journal.files, file.name)
    log = None
    try:
        log = from_header(_header(walker))
        journal.begun = walker.at
        file.epoch = log.epoch
        _replay(journal, walker, log, file)
    except Malformed as error:
        journal.damage = error.reason
    finally:
        walker.close()
    if journal.torn_bytes and not journal.damage:
        cut(journal.files, file.name, file.size)
    return log


def _header(walker: Walker) -> "list[Any]":
    frame = walker.next()
    if frame is None or frame.major != CONTROL_MAJOR:
        raise Malformed("truncated", "a file of the journal has no header")
    return walker.values(frame)


def _replay(journal: Journal, walker: Walker, log: Log, file: JournalFile) -> None:
    good = walker.at
    try:
        while True:
            frame = walker.next()
            if frame is None:
                return
            if frame.major == RECORD_MAJOR:
                replay_record(log, frame.check, walker.content(frame))
            else:
                replay_control(log, walker.values(frame))
            good = walker.at
    except Malformed as error:
        # A signature is synced before it is sent.  So a bad place with a signature behind it is no
        # torn tail, and what it covers may have left the device.
        journal.torn_bytes = file.size - good
        if _signature_after(journal, walker, good, file):
            journal.damage = error.reason
        else:
            file.size = good
            journal.used -= journal.torn_bytes


def _signature_after(journal: Journal, walker: Walker, at: int, file: JournalFile) -> bool:
    # Frames cannot be followed past a bad place: every byte may begin one.  A signature's frame has
    # a fixed form, and its check tells it.
    mark = bytes((0x83, SIGNATURE))
    data = b""
    for block in walker.pieces(at, file.size, BLOCK):
        data += block
        found = data.find(mark)
        while found >= 0:
            if _is_signature(journal, file, at + found - SIGNATURE_CONTENT):
                return True
            found = data.find(mark, found + 1)
        at += len(data) - 1
        data = data[-1:]
    return False


def _is_signature(journal: Journal, file: JournalFile, at: int) -> bool:
    if at < 0:
        return False
    walker = Walker(journal.files, file.name, at)
    try:
        frame = walker.next()
        return (
            frame is not None
            and frame.major == CONTROL_MAJOR
            and frame.begin == at + SIGNATURE_CONTENT
            and bool(walker.values(frame)[0] == SIGNATURE)
        )
    except Malformed:
        return False
    finally:
        walker.close()


def from_header(values: "list[Any]") -> Log:
    """The log as it was when a file began; Malformed when this is no header of ours."""
    if values[0] != HEADER or values[1] != frames.VERSION:
        raise Malformed("bad-value", "the journal's header is none of this version")
    log = Log(values[2], values[3])
    log.tree = Tree(values[4], values[5])
    log.claims, log.boot, log.ordinal, log.signed = values[6:10]
    log.pending = [(one[0], one[1]) for one in values[10]]
    log.custody = tuple(values[11]) if values[11] else None
    log.past = values[12]
    if len(values) > 13 and values[13]:
        log.intent, log.credit_ms, log.credited_ms = values[13]
    log.keys = values[14] if len(values) > 14 else []
    log.hollow = values[15] if len(values) > 15 else []
    log.told = values[16] if len(values) > 16 else []
    log.untold = values[17] if len(values) > 17 else []
    if len(values) > 18:
        log.holds = values[18]
    log.sealed_size = log.tree.size
    log.sealed_root = log.tree.root() if log.tree.size else b""
    return log


def replay_record(log: Log, check: bytes, record: bytes) -> None:
    """A record that was found on flash; Malformed when it is not what was written there."""
    if not log.seed:
        raise Malformed("bad-value", "the journal has a record without its seed")
    if len(record) < 2:
        raise Malformed("truncated", "the journal has an empty record")
    log.front(record, _no_seed)
    if log.leaf[:4] != check:
        raise Malformed("bad-value", "the journal is damaged in record %d" % log.tree.size)
    log.added(record)
    if log.untold and record[1] == EVENT and b"cgap" in record[:16]:
        giving().mark_told(log, decode(record)[3])


def _no_seed(size: int) -> bytes:
    raise Malformed("bad-value", "the journal has no seed of %d bytes" % size)


def giving() -> "Any":
    """Loaded where a journal has more than records, and forgotten with the rest."""
    from tallystick.recorder import giving as module  # noqa: PLC0415  # seldom

    return module


def replay_control(log: Log, values: "list[Any]") -> None:
    """A frame of ours that was found on flash; Malformed when it does not follow."""
    kind = values[0]
    if kind == SEED:
        if values[1] != log.sealed_size:
            raise Malformed("bad-value", "the journal's seed stands at a wrong place")
        log.seed = values[2]
        log._pair_index = -1
    elif kind == LEAF:
        _replay_elided(log, 0, values[1], int(values[2] == CLAIM))
    elif kind == SUBTREE:
        _replay_elided(log, values[1], values[2], values[3])
    elif kind == GIVEN:
        giving().mark_given(log, *values[1:])
    elif kind == PAYLOAD:
        _replay_payload(log, values[1], values[2])
    elif kind == SIGNATURE:
        log.signed_one(values[1])
    elif kind == CUSTODY:
        log.custody = (values[1], values[2], values[3], values[4])
    elif kind == PAST:
        mark_past(log, values[1])
    elif kind == BOOT:
        log.boot = values[1]
        log.credited_ms = 0
    elif kind == COUNTER:
        log.intent, log.credit_ms, log.credited_ms = values[1:4]
    elif kind == HOLD:
        log.holds = list(log.holds) + [values[1:]]
    elif kind == KEY:
        log.keys.append(values[1:3])
        log.intent = None
    else:
        raise Malformed("unknown-kind", "the journal has a frame that this version does not know")


def _replay_elided(log: Log, level: int, node: bytes, claims: int) -> None:
    # What its payload signs has it: a wrong hash or a wrong count does not give the root.
    begin = log.tree.size
    log.tree.push_subtree(level, node)
    giving().hollowed(log, begin, log.tree.size)
    log.claims += claims
    log.stretch_room -= RECORD_ROOM


def _replay_payload(log: Log, ordinal: int, payload: bytes) -> None:
    values = decode(payload)
    root = log.tree.root()
    place = [log.tree.size, root, log.claims]
    if ordinal <= log.ordinal or values[2:5] != place:
        raise Malformed("bad-root", "a payload of the journal does not fit its records")
    log._sealed(ordinal, payload, log.tree.size, root)
    if log.intent is not None:
        # What is saved up is known from the checkpoints, so nothing else need be written for it.
        log.passed(values[6])
