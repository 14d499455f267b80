# Files of a journal: beginning one, opening it again, closing it, freeing what is not needed.

from tallystick.recorder.core import Log
from tallystick.recorder.frames import HEADER, VERSION, control
from tallystick.recorder.journal import CUT, TEMPORARY, Journal, JournalFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def header(log: Log) -> bytes:
    """The first frame of a file that begins here: at a payload, or at the very begin."""
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
        ]
    )


def begin_file(journal: Journal, log: Log) -> None:
    """A new file from here on; durable after the next sync, as all that is appended."""
    first = header(log)
    number = journal.list[-1].number + 1 if journal.list else 1
    journal.files.remove(TEMPORARY)
    handle = journal.files.appending(TEMPORARY)
    try:
        journal.files.write(handle, first)
    except OSError:
        handle.close()
        journal.files.remove(TEMPORARY)
        raise
    journal.left = journal.handle
    journal.handle = handle
    journal.unnamed = True
    journal.list.append(JournalFile(number, log.epoch, log.tree.size, len(first)))
    journal.used += len(first)


def reopen(journal: Journal) -> None:
    """Open the newest file to append; a write that failed may have left a part of its frame."""
    handle = journal.handle
    journal.handle = None
    if handle is not None:
        handle.close()
    file = journal.list[-1]
    name = TEMPORARY if journal.unnamed else file.name
    if journal.files.size(name) > file.size:
        from tallystick.recorder.repair import cut  # noqa: PLC0415  # costs heap

        journal.files.remove(CUT)
        cut(journal.files, name, file.size)
    journal.handle = journal.files.appending(name)
    journal.broken = False


def close(journal: Journal, lock: "Any") -> None:
    """Sync and close."""
    try:
        journal.sync(lock)
    finally:
        handle = journal.handle
        journal.handle = None
        if handle is not None:
            handle.close()
