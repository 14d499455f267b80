"""Temporary files of a test run in memory, where the machine has a file system there.

Recorders, gateways and validators wait for the disk at every commit, in the suite for longer than
they compute. What they call is the same in memory; that the calls are made, and in which order, is
tested by cutting the power between them. `TALLY_TESTS_ON_DISK=1` keeps them on the disk.

A run's folder is removed when it passed, else by the next run, unless its own run still goes on.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

MEMORY = Path("/dev/shm")
# A whole run needs a third of it at most.
FREE_BYTES_MIN = 1 << 30
# Short: paths of sockets have about 100 bytes, and MicroPython keeps a module's in its heap.
PREFIX = "tally."


# A folder this young may be about to be held by the run that made it.
YOUNG_S = 60


class Folder:
    """The folder that this process made and named in TMPDIR; removed when the process ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # What failed is looked at.
        self.keep = False
        # Held while this process lives, whatever ends it.
        self.handle = os.open(path, os.O_RDONLY)
        fcntl.flock(self.handle, fcntl.LOCK_EX)

    def close(self) -> None:
        if not self.keep:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.handle)


def enter(memory: Path = MEMORY, free_bytes_min: int = FREE_BYTES_MIN) -> Folder | None:
    """Point TMPDIR at a new folder in memory; None where somebody chose, or there is no room."""
    if os.environ.get("TMPDIR") or os.environ.get("TALLY_TESTS_ON_DISK") == "1":
        return None
    _forget(memory)
    if not _usable(memory, free_bytes_min):
        return None
    folder = Folder(Path(tempfile.mkdtemp(prefix=PREFIX, dir=memory)))
    # As /tmp: some tests are two users.
    folder.path.chmod(0o1777)
    os.environ["TMPDIR"] = str(folder.path)
    tempfile.tempdir = None
    return folder


def _usable(memory: Path, free_bytes_min: int) -> bool:
    try:
        found = os.statvfs(memory)
    except OSError:
        return False
    # Programs of the tests are started from there.
    barred = found.f_flag & (os.ST_RDONLY | os.ST_NOEXEC)
    room = found.f_bavail * found.f_frsize >= free_bytes_min
    return room and not barred and os.access(memory, os.W_OK | os.X_OK)


def _forget(memory: Path) -> None:
    """Remove folders of this user's runs that are over."""
    for path in memory.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            found = path.lstat()
            if found.st_uid != os.getuid() or time.time() - found.st_mtime < YOUNG_S:
                continue
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(handle)
