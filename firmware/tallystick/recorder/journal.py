# The journal: numbered files, each begun at a payload (or at the begin of an epoch) with all that
# is needed to go on from there.  Nothing is ever changed in place; what is not needed any more is
# freed a file at a time.

from tallystick.recorder.core import Log
from tallystick.recorder.files import MICROPYTHON, Files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

SUFFIX = ".tally"
TEMPORARY = "new" + SUFFIX
CUT = "cut" + SUFFIX
# Kept for payloads, signatures and custody receipts, so that a full journal can still be sealed,
# sent and freed.
RESERVE_BYTES = 8192
RESERVE_SHARE = 4  # at most a quarter of a small journal


class Full(Exception):  # a state, told apart from a fault of the flash
    """The journal has its limit."""


class JournalFile:
    """One file: number, epoch, first index, and bytes that are known to be good."""

    def __init__(self, number: int, epoch: bytes, first: int, size: int) -> None:
        self.number = number
        self.epoch = epoch
        self.first = first
        self.size = size

    @property
    def name(self) -> str:
        """In the folder."""
        return file_name(self.number)


def file_name(number: int) -> str:
    """The name of a journal's file."""
    return "%08d%s" % (number, SUFFIX)


class Journal:
    """Appends frames and frees files; raises OSError where the flash does."""

    def __init__(self, files: Files, bytes_max: int, file_bytes_max: int) -> None:
        self.files = files
        self.bytes_max = bytes_max
        self.file_bytes_max = file_bytes_max
        self.limit = bytes_max - min(RESERVE_BYTES, bytes_max // RESERVE_SHARE)
        self.list: list[JournalFile] = []
        self.used = 0
        # What opening found: why the newest file ends its epoch, how many older ones cannot be
        # read, and how much of a torn tail was cut.
        self.damage = ""
        self.unreadable = 0
        self.torn_bytes = 0
        self._handle: "BinaryIO | None" = None
        # A file that was left at a rotation and is not synced yet, and whether the new one still
        # has its temporary name.
        self._left: "BinaryIO | None" = None
        self._unnamed = False
        self._broken = False

    # Writing.

    def begin_file(self, log: Log) -> None:
        """A new file from here on; durable after the next sync, as all that is appended."""
        header = log.header()
        number = self.list[-1].number + 1 if self.list else 1
        self.files.remove(TEMPORARY)
        handle = self.files.appending(TEMPORARY)
        try:
            self.files.write(handle, header)
        except OSError:
            handle.close()
            self.files.remove(TEMPORARY)
            raise
        self._left = self._handle
        self._handle = handle
        self._unnamed = True
        self.list.append(JournalFile(number, log.epoch, log.tree.size, len(header)))
        self.used += len(header)

    def wants_file(self) -> bool:
        """Whether the file is long enough to begin another one at the next payload."""
        return self.list[-1].size >= self.file_bytes_max and not self._unnamed

    def append(self, data: bytes, reserved: bool = False) -> None:  # noqa: FBT001, FBT002
        """Whole or not at all; Full at the limit, `reserved` for what seals and frees."""
        size = len(data)
        if self.used + size > (self.bytes_max if reserved else self.limit):
            raise Full
        if self._broken or self._handle is None:
            self._reopen()
        try:
            self.files.write(self._handle, data)  # type: ignore[arg-type]  # open by now
        except OSError:
            self._broken = True
            raise
        self.list[-1].size += size
        self.used += size

    def _reopen(self) -> None:
        # A write that failed may have left a part of its frame.
        handle = self._handle
        self._handle = None
        if handle is not None:
            handle.close()
        file = self.list[-1]
        name = TEMPORARY if self._unnamed else file.name
        if self.files.size(name) > file.size:
            from tallystick.recorder.repair import cut  # noqa: PLC0415  # costs heap

            self.files.remove(CUT)
            cut(self.files, name, file.size)
        self._handle = self.files.appending(name)
        self._broken = False

    def sync(self, lock: "Any") -> None:
        """All that was appended before is durable; others may append meanwhile."""
        with lock:
            left, handle, unnamed = self._left, self._handle, self._unnamed
        if left is not None:
            self.files.sync(left)
        if handle is not None:
            self.files.sync(handle)
        if unnamed and MICROPYTHON and handle is not None:
            # Flash filesystems do not rename an open file.
            handle.close()
            self._handle = None
        if unnamed:
            self.files.rename(TEMPORARY, self.list[-1].name)
        with lock:
            if left is not None:
                self._left = None
                left.close()
            if unnamed:
                self._unnamed = False

    # Freeing.

    def first(self, epoch: bytes) -> int:
        """The oldest index of this epoch that is still here."""
        for file in self.list:
            if file.epoch == epoch:
                return file.first
        return 0

    def release(self, epoch: bytes, size: int, before: int) -> int:
        """Free files that end at or below `size` and lie before file number `before`."""
        freed = 0
        while len(self.list) > 1:
            file, following = self.list[0], self.list[1]
            if file.number >= before or (file.epoch == epoch and following.first > size):
                break
            self.files.remove(file.name)
            self.list.pop(0)
            self.used -= file.size
            freed += 1
        return freed

    def index_of(self, epoch: bytes, size: int) -> int:
        """The place in `list` of the file that holds the stretch from `size` on, or the oldest."""
        chosen = -1
        for at, file in enumerate(self.list):
            if file.epoch == epoch and (chosen < 0 or file.first <= size):
                chosen = at
        return max(chosen, 0)

    def close(self, lock: "Any") -> None:
        """Sync and close."""
        try:
            self.sync(lock)
        finally:
            handle = self._handle
            self._handle = None
            if handle is not None:
                handle.close()
