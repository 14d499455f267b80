"""Whole logs of validators, from wherever they are: an address, a folder of tiles, or one file.

What is read gives the root of the log's checkpoint, or it is refused; who signed the checkpoint is
not looked at here.
"""

from collections.abc import Callable
from pathlib import Path

from tallystick.evidence import note as notes
from tallystick.evidence.errors import CouldNotCheck, Malformed
from tallystick.evidence.limits import EVIDENCE_BYTES_MAX, LOG_CHECKPOINT_BYTES_MAX
from tallystick.tools._files import read_bytes
from tallystick.verify import load_evidence, tiles
from tallystick.verify.logcopy import LogCopy, from_file

ENTRIES_MAX = 10_000_000
SCHEMES = ("http://", "https://")

Fetch = Callable[[str, int], bytes]


def read_log(where: str) -> LogCopy:
    """The log at a validator's address, in a folder of tiles, or in a file that `save` made."""
    if where.startswith(SCHEMES):
        # Only who reads over a network needs a client of the extra for it.
        from tallystick.tools.logapi import LogApi  # noqa: PLC0415  # see above

        with LogApi(where) as api:
            return from_tiles(api.resource)
    path = Path(where)
    if path.is_dir():
        return from_tiles(lambda name, bytes_max: _file(path, name, bytes_max))
    return from_file(load_evidence(read_bytes(path, EVIDENCE_BYTES_MAX)))


def from_tiles(fetch: Fetch) -> LogCopy:
    """The log whose resources `fetch` gives by path and greatest size (C2SP tlog-tiles)."""
    note = notes.parse(fetch("checkpoint", LOG_CHECKPOINT_BYTES_MAX).decode())
    if note.size > ENTRIES_MAX:
        raise Malformed("too-large", f"a log of {note.size:,} entries; {ENTRIES_MAX:,} at most")
    entries: list[bytes] = []
    for tile in tiles.tiles_of(note.size):
        if tile.level is not None:
            continue
        data = fetch(tile.path, tiles.BUNDLE_BYTES_MAX)
        entries += tiles.parse_bundle(data, tile.width)
    return LogCopy(note, entries)


def _file(folder: Path, name: str, bytes_max: int) -> bytes:
    path = folder / name
    if path.exists():
        return read_bytes(path, bytes_max)
    if name.startswith("tile/"):
        # A partial tile goes when its full one is there.
        part = tiles.parse_path(name)
        whole = folder / part.full.path
        if whole.exists():
            entries = tiles.parse_bundle(read_bytes(whole, bytes_max), tiles.WIDTH)
            return tiles.encode_bundle(entries[: part.width])
    raise CouldNotCheck("truncated", f"{path} is not there: this folder holds no whole log")


def save(copy: LogCopy, path: Path) -> None:
    """Write a copy as one file; Malformed where the log is too long for that."""
    path.write_bytes(load_evidence(copy.file().encode()).encode())
