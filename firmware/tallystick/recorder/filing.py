# Files of a journal: beginning one, opening it again, cutting it, closing it; and the frames that
# remember what is no record.

from tallystick.recorder.core import STRETCH_ROOM, Log
from tallystick.recorder.files import BLOCK, Files
from tallystick.recorder.frames import BOOT, HEADER, PAST, VERSION, control
from tallystick.recorder.journal import CUT, TEMPORARY, Journal, JournalFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.recorder.ledger import Ledger

PAST_MAX = 8


def header(log: Log) -> bytes:
    """The first frame of a file that begins here: at a payload, or at the very begin."""
    # Left out where there is none, as before there were such.
    more = [log.keys, log.hollow, log.told, log.untold, log.holds]
    while more and not more[-1]:
        more.pop()
    return control(
        [
            HEADER,
            VERSION,
            log.device,
            log.epoch,
            log.tree.size,
            log.tree.edge,
            log.claims,
            log.boot,
            log.ordinal,
            log.signed,
            [list(one) for one in log.pending],
            list(log.custody) if log.custody else None,
            log.past,
            None if log.intent is None else [log.intent, log.credit_ms, log.credited_ms],
        ]
        + more
    )


def begin_file(journal: Journal, log: Log) -> None:
    """A new file from here on; durable after the next sync, as all that is appended."""
    first = header(log)
    number = journal.list[-1].number + 1 if journal.list else 1
    journal.files.remove(TEMPORARY)
    handle = journal.files.appending(TEMPORARY)
    try:
        journal.files.write(handle, first)
        # Before anything else changes: memory may end here, and the temporary file would get the
        # name of the file before it.
        journal.list.append(JournalFile(number, log.epoch, log.tree.size, len(first)))
    except Exception:
        handle.close()
        journal.files.remove(TEMPORARY)
        raise
    journal.left = journal.handle
    journal.handle = handle
    journal.unnamed = True
    journal.used += len(first)
    journal.begun = len(first)
    bound(log, journal)


def rotate(ledger: "Ledger") -> None:
    """Begin a new file behind a payload."""
    try:
        begin_file(ledger.journal, ledger.log)
    except Exception as error:  # noqa: BLE001  # a flash driver's
        from tallystick.recorder.troubles import flash_failed  # noqa: PLC0415  # rarely

        flash_failed(ledger, "rotate", error)
    else:
        ledger.works("flash:rotate")


def bound(log: Log, journal: Journal) -> None:
    """A stretch takes a file of the journal at most, so that files have a bound too."""
    taken = log.room_max - log.stretch_room
    log.room_max = min(STRETCH_ROOM, journal.file_bytes_max)
    log.stretch_room = log.room_max - taken


def reopen(journal: Journal) -> None:
    """Open the newest file to append; a write that failed may have left a part of its frame."""
    handle = journal.handle
    journal.handle = None
    if handle is not None:
        handle.close()
    file = journal.list[-1]
    name = TEMPORARY if journal.unnamed else file.name
    if journal.files.size(name) > file.size:
        journal.files.remove(CUT)
        cut(journal.files, name, file.size)
    journal.handle = journal.files.appending(name)
    journal.broken = False


def close(journal: Journal, lock: "Any") -> None:
    """Sync and close."""
    if journal.work is not None:
        journal.work.close()
        journal.work = None
    try:
        journal.sync(lock)
    finally:
        handle = journal.handle
        journal.handle = None
        if handle is not None:
            handle.close()


def cut(files: Files, name: str, size: int) -> None:
    """Leave the first `size` bytes; bounded by the size of a file."""
    # MicroPython cannot shorten a file, so its good part is copied.
    source = files.reading(name)
    handle = files.appending(CUT)
    try:
        while size:
            block = source.read(min(BLOCK, size))
            if not block:
                raise OSError(5, "the journal's file is shorter than it was")
            files.write(handle, block)
            size -= len(block)
        files.sync(handle)
    finally:
        source.close()
        handle.close()
    files.rename(CUT, name)


def mark_past(log: Log, epoch: bytes) -> bytes:
    """The frame that remembers an epoch that came before this one."""
    log.past = (log.past + [epoch])[-PAST_MAX:]
    return control([PAST, epoch])


def mark_boot(log: Log) -> bytes:
    """The frame of one boot more."""
    log.boot += 1
    log.credited_ms = 0
    return control([BOOT, log.boot])
