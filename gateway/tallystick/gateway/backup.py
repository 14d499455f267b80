"""A copy of the store while the gateway runs, whole as of one moment (docs/operations.md).

The copy is marked: no gateway goes on with it, since a store that is older than what its gateway's
key signed would prove two stories against an honest gateway. `tally gateway restore` brings what it
holds to a gateway with a key of its own.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tallystick.evidence import credential as credentials
from tallystick.evidence.errors import CouldNotCheck
from tallystick.evidence.hello import Hello
from tallystick.gateway.store import meta, open_reader, set_meta

# What is copied between two calls of the progress, in the store's pages.
STEP_PAGES = 4_096
_MARK = "backup_ms"

Progress = Callable[[int, int], None]  # pages left, pages in all


def _quiet(_left: int, _total: int) -> None:
    pass


def backup(store: Path, to: Path, progress: Progress = _quiet) -> int:
    """Copy a store; returns the number of its segments. CouldNotCheck where it cannot be done.

    Nothing is at `to` before all of it is on the disk and was found whole.
    """
    if to.exists():
        raise CouldNotCheck("bad-value", f"{to}: is there already; a backup overwrites nothing")
    partial = to.with_name(f".{to.name}.partial")
    partial.unlink(missing_ok=True)
    source = open_reader(store)
    try:
        # A snapshot, so that what is written meanwhile does not make the copy begin anew.
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM meta").fetchone()
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        copy = sqlite3.connect(partial, isolation_level=None)
        try:
            source.backup(
                copy, pages=STEP_PAGES, progress=lambda _s, left, all_: progress(left, all_)
            )
            segments = _finish(copy, to)
        finally:
            copy.close()
        _durable(partial, to)
    except sqlite3.Error as error:
        raise CouldNotCheck("bad-value", f"{to}: {error}") from error
    finally:
        source.close()
        for left in (partial, *(Path(f"{partial}{end}") for end in ("-wal", "-shm", "-journal"))):
            left.unlink(missing_ok=True)
    return segments


def _finish(copy: sqlite3.Connection, to: Path) -> int:
    # One file, without a log beside it.
    copy.execute("PRAGMA journal_mode=DELETE")
    (found,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise CouldNotCheck("bad-value", f"{to}: the copy is not whole: {found}")
    set_meta(copy, _MARK, str(time.time_ns() // 1_000_000).encode())
    (segments,) = copy.execute("SELECT count(*) FROM segments").fetchone()
    return int(segments)


def _durable(partial: Path, to: Path) -> None:
    for path in (partial, to.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            if path == partial:
                partial.rename(to)
        finally:
            os.close(descriptor)


def made_ms(connection: sqlite3.Connection) -> int | None:
    """When this store was copied as a backup; None: it is no backup."""
    mark = meta(connection, _MARK)
    return None if mark is None else int(mark)


def check_none(connection: sqlite3.Connection, store: Path) -> None:
    """CouldNotCheck("put-back") where a store is a backup: nobody goes on with one."""
    if made_ms(connection) is not None:
        raise CouldNotCheck(
            "put-back",
            f"{store} is a backup: going on with it would contradict what this gateway signed "
            "since; enrol a gateway under a new key, and bring it what the backup holds with "
            "`tally gateway restore`",
        )


def messages(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """(device, message) of everything that a backup holds, as its devices sent it.

    For `importing.take_in`. CouldNotCheck where the file is no backup: a store may have a gateway.
    """
    connection = open_reader(path)
    try:
        if made_ms(connection) is None:
            raise CouldNotCheck(
                "bad-value", f"{path}: is no backup; `tally gateway backup` makes one"
            )
        known: set[tuple[bytes, bytes]] = set()
        rows = connection.execute(
            "SELECT tracks.device, tracks.epoch, segments.first, segments.until, segments.data "
            "FROM segments JOIN tracks USING (track) ORDER BY segments.at"
        )
        for device, epoch, first, until, data in rows:
            if (device, epoch) not in known:
                known.add((device, epoch))
                yield device, Hello(device, epoch, first, until, _credential(path, device)).encode()
            yield device, data
    except sqlite3.Error as error:
        raise CouldNotCheck("bad-value", f"{path}: {error}") from error
    finally:
        connection.close()


def _credential(path: Path, device: bytes) -> list[bytes]:
    # A reader of its own: the one above is in the middle of its rows.
    connection = open_reader(path)
    try:
        row = connection.execute(
            "SELECT credential FROM devices WHERE device = ?", (device,)
        ).fetchone()
    finally:
        connection.close()
    return [] if row is None else credentials.parse(row[0]).statements
