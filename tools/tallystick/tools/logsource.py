"""Whole logs of validators, from wherever they are: an address, a folder of tiles, or one file.

What is read gives the root of the log's checkpoint, or it is refused; who signed the checkpoint is
not looked at here.
"""

from collections.abc import Callable
from pathlib import Path

from tallystick.evidence import note as notes
from tallystick.evidence.errors import Malformed
from tallystick.evidence.limits import EVIDENCE_BYTES_MAX, LOG_CHECKPOINT_BYTES_MAX
from tallystick.tools._files import read_bytes
from tallystick.verify import load_evidence, logread
from tallystick.verify.logcopy import LogCopy, from_file

ENTRIES_MAX = 10_000_000
SCHEMES = ("http://", "https://")

Fetch = Callable[[str, int], bytes]


def read_log(where: str) -> LogCopy:
    """The log at a validator's address, in a folder of tiles, or in a file that `save` made."""
    path = Path(where)
    if not where.startswith(SCHEMES) and not path.is_dir():
        return from_file(load_evidence(read_bytes(path, EVIDENCE_BYTES_MAX)))
    # Only who reads tiles needs a client of the extra for it.
    from tallystick.tools.log_source import LogSource  # noqa: PLC0415  # see above

    with LogSource(where) as source:
        return from_tiles(source.fetch)


def from_tiles(fetch: Fetch) -> LogCopy:
    """The log whose resources `fetch` gives by path and greatest size (C2SP tlog-tiles)."""
    note = notes.parse(fetch("checkpoint", LOG_CHECKPOINT_BYTES_MAX).decode())
    if note.size > ENTRIES_MAX:
        raise Malformed("too-large", f"a log of {note.size:,} entries; {ENTRIES_MAX:,} at most")
    entries: list[bytes] = []
    for _, found in logread.entries(fetch, 0, note.size):
        entries += found
    return LogCopy(note, entries)


def save(copy: LogCopy, path: Path) -> None:
    """Write a copy as one file; Malformed where the log is too long for that."""
    path.write_bytes(load_evidence(copy.file().encode()).encode())
