# The folder of a journal.  Everything that touches the filesystem is here, so that tests can fail
# or stop it at any point.  And the modules of a microcontroller, which lie in files too.

import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import BinaryIO

MICROPYTHON = sys.implementation.name == "micropython"
BLOCK = 512
LOCK = "lock"
FORGET_TRIES = 2
TAKEN = "another recorder has it; a journal has one"
# Folders that a recorder of this process has; MicroPython's only.
_locked: list[str] = []


def make_folder(path: str) -> None:
    """The folder and those above it; MicroPython has no makedirs."""
    at = 0
    while at >= 0:
        at = path.find("/", at + 1)
        part = path if at < 0 else path[:at]
        try:
            os.stat(part)
        except OSError:
            os.mkdir(part)


class Files:
    """One folder of append-only files."""

    def __init__(self, folder: str) -> None:
        self.folder = folder.rstrip("/") or "/"
        self._lock: "BinaryIO | None" = None
        make_folder(self.folder)

    def lock(self) -> None:
        """OSError when another recorder has this folder: two would contradict each other."""
        if MICROPYTHON:
            # A board has one process, so a set in its memory is enough.
            if self._place() in _locked:
                raise OSError(11, TAKEN)
            _locked.append(self._place())
        else:
            from fcntl import LOCK_EX, LOCK_NB, flock  # noqa: PLC0415  # POSIX's

            self._lock = open(self.path(LOCK), "ab")  # noqa: SIM115  # held until unlock()
            try:
                flock(self._lock, LOCK_EX | LOCK_NB)
            except OSError:
                self._lock.close()
                raise OSError(11, TAKEN)

    def unlock(self) -> None:
        """Others may record into it."""
        if MICROPYTHON:
            if self._place() in _locked:
                _locked.remove(self._place())
        elif self._lock is not None:
            self._lock.close()

    def _place(self) -> str:
        # The folder's one name, as far as names tell.
        return self.folder if self.folder[0] == "/" else os.getcwd() + "/" + self.folder

    def path(self, name: str) -> str:
        """Where a file is."""
        return self.folder + "/" + name

    def names(self) -> list[str]:
        """Files of the folder."""
        return sorted(os.listdir(self.folder))

    def size(self, name: str) -> int:
        """Bytes."""
        return os.stat(self.path(name))[6]

    def reading(self, name: str) -> "BinaryIO":
        """Open to read."""
        return open(self.path(name), "rb")

    def appending(self, name: str) -> "BinaryIO":
        """Open to append, unbuffered: what was written survives the process, not a power cut."""
        if MICROPYTHON:
            return open(self.path(name), "ab")
        return open(self.path(name), "ab", 0)

    def write(self, handle: "BinaryIO", data: bytes) -> None:
        """All of it, or OSError."""
        count = handle.write(data)
        while count != len(data):
            if not count:
                raise OSError(28, "no space")
            data = data[count:]
            count = handle.write(data)

    def sync(self, handle: "BinaryIO") -> None:
        """Durable when this returns."""
        # MicroPython's flush is fsync on POSIX and a commit on LittleFS and FAT.
        handle.flush()
        if not MICROPYTHON:
            os.fsync(handle.fileno())
        elif hasattr(os, "sync"):
            os.sync()

    def rename(self, name: str, to: str) -> None:
        """In place of `to`, durably; again after it failed, whatever had been done by then."""
        try:
            os.rename(self.path(name), self.path(to))
        except OSError as error:
            if error.args[0] == 17:  # EEXIST: FAT does not rename over a file, in no atomic way
                os.remove(self.path(to))
                os.rename(self.path(name), self.path(to))
            elif error.args[0] != 2 or name in self.names() or to not in self.names():  # ENOENT
                raise
        self.sync_folder()

    def remove(self, name: str) -> None:
        """Gone; what is gone already is no fault."""
        try:
            os.remove(self.path(name))
        except OSError as error:
            if error.args[0] != 2:  # ENOENT
                raise

    def sync_folder(self) -> None:
        """Names durable: POSIX needs this, flash filesystems commit names by themselves."""
        if MICROPYTHON:
            return
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def space(self) -> int:
        """Free bytes, for the default limit of a journal."""
        stats = os.statvfs(self.folder)
        return int(stats[1] * stats[4])


# A microcontroller's heap: what was needed once is forgotten.


def preload(names: tuple[str, ...]) -> None:
    """Load these modules in this order, one close to the other."""
    if MICROPYTHON:
        for name in names:
            __import__("tallystick." + name)
        gc.collect()


class Loaded:
    """Which of these modules were there before: they stay when the others are forgotten."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._before = [name for name in names if "tallystick." + name in sys.modules]

    def forget(self, names: tuple[str, ...]) -> None:
        """Forget those of these modules that were not there before."""
        forget(names, self._before)


def forget(names: tuple[str, ...], kept: "Container[str]" = ()) -> None:
    """These modules are loaded again when they are needed again; in a full heap not all may go.

    Those in `kept` stay.
    """
    if not MICROPYTHON:
        return
    for name in names:
        for _ in range(0 if name in kept else FORGET_TRIES):
            try:
                _forget("tallystick." + name)
                break
            except MemoryError:
                # Not even its path fits. What stays is in nobody's way, and goes the next time.
                gc.collect()
    # Now, lest what is loaded next lie between what is left: pieces are of no use.
    gc.collect()


def _forget(name: str) -> None:
    at = name.rfind(".")
    above = name[:at]
    own = name[at + 1 :]
    # From here on nothing needs room: a module goes whole, or stays whole.
    if sys.modules.pop(name, None) is None:
        return
    parent = sys.modules.get(above)
    if parent is not None and hasattr(parent, own):
        delattr(parent, own)
