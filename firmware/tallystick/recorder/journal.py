# The journal: numbered files, each begun at a payload (or at the begin of an epoch) with all that
# is needed to go on from there.  Nothing is ever changed in place; what is not needed any more is
# freed a file at a time, and what a full journal gives up goes when a file is compacted
# (compacting.py).

from tallystick.recorder.files import MICROPYTHON, Files, forget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

SUFFIX = ".tally"
TEMPORARY = "new" + SUFFIX
CUT = "cut" + SUFFIX
LESS = "less" + SUFFIX
# Kept for payloads, signatures, custody receipts and what tells of gaps, so that a full journal can
# still be sealed, sent and freed.
RESERVE_BYTES = 8192
RESERVE_SHARE = 4  # at most a quarter of a small journal
# Of it, for compacting: a file's length, at most an eighth of all; and for what seals meanwhile.
COMPACTION_SHARE = 8
SEALING_BYTES = 1024


class Full(Exception):  # a state, told apart from a fault of the flash
    """The journal has its limit."""


class JournalFile:
    """One file: number, epoch, first index, known good bytes, how often it was compacted."""

    def __init__(self, number: int, epoch: bytes, first: int, size: int, level: int = 0) -> None:
        self.number = number
        self.epoch = epoch
        self.first = first
        self.size = size
        self.level = level

    @property
    def name(self) -> str:
        """In the folder; opening a journal reads these and one file."""
        return "%08d-%d-%d%s" % (self.number, self.first, self.level, SUFFIX)


class Journal:
    """Appends frames and frees files; raises OSError where the flash does."""

    def __init__(self, files: Files, bytes_max: int, file_bytes_max: int) -> None:
        self.files = files
        self.bytes_max = bytes_max
        self.file_bytes_max = file_bytes_max
        # What compacting reads it writes beside it, so a file's length of the reserve is for that.
        self.file_room = min(file_bytes_max, bytes_max // COMPACTION_SHARE)
        reserve = min(RESERVE_BYTES, bytes_max // RESERVE_SHARE)
        self.limit = bytes_max - max(reserve, self.file_room + SEALING_BYTES)
        # At the limit: refuse what comes, in place of giving up what is there.
        self.refuses = False
        # What compacting writes beside what is there, of which file, and the newest file when
        # nothing was left to give up.
        self.aside = 0
        self.compacting = 0
        self.stuck = 0
        # Of compacting.py: what is under way, what is to be removed still, when to try again, and
        # what did not pay.
        self.work: "Any" = None
        self.rewriting = False
        self.leftover = ""
        self.retry_ms = 0
        self.tried: dict[int, int] = {}
        # The newest file's header.
        self.begun = 0
        self.list: list[JournalFile] = []
        self.used = 0
        # What opening found: why the newest file ends its epoch, how many older ones cannot be
        # read, and how much of a torn tail was cut.
        self.damage = ""
        self.unreadable = 0
        self.torn_bytes = 0
        self.handle: "BinaryIO | None" = None
        # A file that was left at a rotation and is not synced yet, and whether the new one still
        # has its temporary name.
        self.left: "BinaryIO | None" = None
        self.unnamed = False
        # A write failed: there may be a part of a frame.  And: what was not synced may be lost,
        # whatever the next sync says (losing.py).
        self.broken = False
        self.doubt = False
        # Gaps that were written and not synced: [details, index].
        self.gaps: "list[Any]" = []

    def wants_file(self) -> bool:
        """Whether the file is long enough to begin another one at the next payload."""
        # A header with many payloads that wait for the key is long itself.
        wanted = max(self.file_bytes_max, 2 * self.begun)
        return self.list[-1].size >= wanted and not self.unnamed

    def room(self) -> int:
        """Bytes of frames that records may still take."""
        return self.limit - self.used

    def tight(self) -> bool:
        """Whether it is time to give something up."""
        if self.refuses or self.used <= self.limit - self.file_room:
            return False
        return self.list[-1].number != self.stuck and self.left is None and not self.unnamed

    def append(self, data: bytes, reserved: bool = False, rest: bytes = b"") -> None:  # noqa: FBT001, FBT002
        """`data` and `rest`, whole or not at all; Full at the limit, `reserved` for what frees."""
        self._sure()
        size = len(data) + len(rest)
        if self.used + size > (self.bytes_max - self.aside if reserved else self.limit):
            raise Full
        if self.broken or self.handle is None:
            from tallystick.recorder.filing import reopen  # noqa: PLC0415  # forgotten again

            reopen(self)
            forget(("recorder.filing",))
        # Whatever ends the write, an interrupt too, may leave a part of the frame.
        self.broken = True
        # LittleFS drops all of a file that it did not write yet; POSIX does not.
        self.doubt = MICROPYTHON
        self.files.write(self.handle, data)  # type: ignore[arg-type]  # open by now
        if rest:
            self.files.write(self.handle, rest)  # type: ignore[arg-type]  # as above
        self.broken = self.doubt = False
        self.list[-1].size += size
        self.used += size

    def sync(self, lock: "Any") -> None:
        """All that was appended before is durable; others may append meanwhile."""
        self._sure()
        done = False
        told = len(self.gaps)
        try:
            self._sync(lock)
            done = True
            del self.gaps[:told]
        finally:
            if not done:
                self.doubt = True

    def _sure(self) -> None:
        if self.doubt:
            raise OSError(5, "what was written and not synced may be lost")

    def _sync(self, lock: "Any") -> None:
        with lock:
            left, handle, unnamed = self.left, self.handle, self.unnamed
        if left is not None:
            self.files.sync(left)
        if handle is not None:
            self.files.sync(handle)
        if unnamed and MICROPYTHON and handle is not None:
            # Flash filesystems do not rename an open file.
            handle.close()
            self.handle = None
        if unnamed:
            self.files.rename(TEMPORARY, self.list[-1].name)
        with lock:
            if left is not None:
                self.left = None
                left.close()
            if unnamed:
                self.unnamed = False
