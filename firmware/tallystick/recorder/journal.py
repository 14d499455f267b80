# The journal: numbered files, each begun at a payload (or at the begin of an epoch) with all that
# is needed to go on from there.  Nothing is ever changed in place; what is not needed any more is
# freed a file at a time.

from tallystick.evidence.errors import Malformed
from tallystick.recorder import core, frames
from tallystick.recorder.files import BLOCK, MICROPYTHON, Files
from tallystick.recorder.frames import CONTROL_MAJOR, HEADER, RECORD_MAJOR, SIGNATURE, Walker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

SUFFIX = ".tally"
TEMPORARY = "new" + SUFFIX
CUT = "cut" + SUFFIX
# Bytes of a signature's frame before its content: check, and the head of 69 to 77 bytes.
SIGNATURE_CONTENT = frames.CHECK_SIZE + 2
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
        self.reserve = min(RESERVE_BYTES, bytes_max // RESERVE_SHARE)
        self.list: list[JournalFile] = []
        self.used = 0
        self.damage = ""
        self.torn_bytes = 0
        self._handle: "BinaryIO | None" = None
        # A file that was left at a rotation and is not synced yet, and whether the new one still
        # has its temporary name.
        self._left: "BinaryIO | None" = None
        self._unnamed = False
        self._broken = False

    # Opening.

    def open(self) -> core.Log | None:
        """The log as the newest file tells it, cut where a power cut tore it; None: no journal."""
        names = self.files.names()
        for name in (TEMPORARY, CUT):
            # Left by a stop before its rename: nothing in it was ever relied upon.
            if name in names:
                self.files.remove(name)
        stems = [name[: -len(SUFFIX)] for name in names if name.endswith(SUFFIX)]
        numbers = sorted([int(stem) for stem in stems if stem.isdigit()])
        log = None
        for number in numbers:
            log = self._read(number, newest=number == numbers[-1])
        return log

    def _read(self, number: int, *, newest: bool) -> core.Log | None:
        file = JournalFile(number, b"", 0, self.files.size(file_name(number)))
        self.list.append(file)
        self.used += file.size
        walker = Walker(self.files, file.name)
        log = None
        try:
            log = self._read_header(walker)
            file.epoch = log.epoch
            file.first = log.tree.size
            if newest:
                self._replay(walker, log, file)
        except Malformed as error:
            # An older file that cannot be read is not sent; the newest one ends its epoch.
            self.damage = error.message
        finally:
            walker.close()
        if newest and self.torn_bytes and not self.damage:
            self._cut(file, file.name)
        return log

    def _read_header(self, walker: Walker) -> core.Log:
        frame = walker.next()
        if frame is None or frame.major != CONTROL_MAJOR:
            raise Malformed("truncated", "a file of the journal has no header")
        return core.from_header(walker.values(frame))

    def _replay(self, walker: Walker, log: core.Log, file: JournalFile) -> None:
        good = walker.at
        try:
            while True:
                frame = walker.next()
                if frame is None:
                    return
                if frame.major == RECORD_MAJOR:
                    core.replay_record(log, frame.check, walker.content(frame))
                else:
                    core.replay_control(log, walker.values(frame))
                good = walker.at
        except Malformed as error:
            # A signature is synced before it is sent.  So a bad place with a signature behind it is
            # no torn tail, and what it covers may have left the device.
            if self._signature_after(walker, good, file):
                self.damage = error.message
            self.torn_bytes = file.size - good
            if not self.damage:
                file.size = good
                self.used -= self.torn_bytes

    def _signature_after(self, walker: Walker, at: int, file: JournalFile) -> bool:
        # Frames cannot be followed past a bad place: every byte may begin one.  A signature's frame
        # has a fixed form, and its check tells it.
        mark = bytes((0x83, SIGNATURE))
        data = b""
        for block in walker.pieces(at, file.size, BLOCK):
            data += block
            found = data.find(mark)
            while found >= 0:
                if self._is_signature(file, at + found - SIGNATURE_CONTENT):
                    return True
                found = data.find(mark, found + 1)
            at += len(data) - 1
            data = data[-1:]
        return False

    def _is_signature(self, file: JournalFile, at: int) -> bool:
        if at < 0:
            return False
        walker = Walker(self.files, file.name, at)
        try:
            frame = walker.next()
            return (
                frame is not None
                and frame.major == CONTROL_MAJOR
                and frame.begin == at + SIGNATURE_CONTENT
                and bool(walker.values(frame)[0] == SIGNATURE)
            )
        except Malformed:
            return False
        finally:
            walker.close()

    def _cut(self, file: JournalFile, name: str) -> None:
        # MicroPython cannot shorten a file, so the good part is copied; it is bounded by the size
        # of one file.
        walker = Walker(self.files, name)
        handle = self.files.appending(CUT)
        try:
            for block in walker.pieces(0, file.size, BLOCK):
                self.files.write(handle, block)
            self.files.sync(handle)
        finally:
            walker.close()
            handle.close()
        self.files.rename(CUT, name)

    # Writing.

    def begin_file(self, log: core.Log) -> None:
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
        if self.used + size > self.bytes_max - (0 if reserved else self.reserve):
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
            self.files.remove(CUT)
            self._cut(file, name)
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


def values_of(files: Files, name: str) -> "list[Any]":
    """The header's array of one file."""
    walker = Walker(files, name)
    try:
        frame = walker.next()
        if frame is None or frame.major != CONTROL_MAJOR:
            raise Malformed("truncated", "a file of the journal has no header")
        values = walker.values(frame)
        if values[0] != HEADER:
            raise Malformed("bad-value", "a file of the journal has no header")
        return values
    finally:
        walker.close()
