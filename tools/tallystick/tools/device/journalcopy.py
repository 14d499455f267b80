"""A copy of a recorder's journal, opened; nothing here needs a board."""

from pathlib import Path
from typing import Any

from tallystick.evidence.errors import Malformed
from tallystick.recorder.core import Log
from tallystick.recorder.files import Files
from tallystick.recorder.journal import SUFFIX, Journal
from tallystick.recorder.replay import open_journal
from tallystick.recorder.walking import Walker

UNBOUNDED = 1 << 40
DEVICE_SIZE = 32
HEADER_VALUES_MIN = 13


def order(name: str) -> tuple[int, ...]:
    """By number, and by how often it was compacted; empty for what is no file of a journal."""
    parts = name.removesuffix(SUFFIX).split("-")
    return tuple(map(int, parts)) if all(part.isdigit() for part in parts) else ()


def open_copy(folder: Path) -> tuple[Journal, Log | None]:
    """Open a copy of a journal; what a power cut tore is cut off this copy, as at a boot.

    :raises TallyError: its newest file has no header.
    """
    files = Files(str(folder))
    newest = max(filter(order, files.names()), key=order, default=None)
    journal = Journal(files, UNBOUNDED, UNBOUNDED)
    if newest is None:
        return journal, None
    device = header(files, newest)[2]
    if not isinstance(device, bytes) or len(device) != DEVICE_SIZE:
        raise Malformed("bad-value", f"{newest} is no file of a journal")
    return journal, open_journal(journal, device)


def header(files: Files, name: str) -> list[Any]:
    """The values of a file's first frame.

    :raises Malformed: it has none.
    """
    walker = Walker(files, name)
    try:
        frame = walker.next()
        values = walker.values(frame) if frame is not None else []
    finally:
        walker.close()
    if len(values) < HEADER_VALUES_MIN:
        raise Malformed("bad-value", f"{name} is no file of a journal")
    return values
