# Reading a journal's file frame by frame (recorder/frames.py).

from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Malformed
from tallystick.recorder.frames import (
    CHECK_SIZE,
    CONTENT_BYTES_MAX,
    CONTROL_MAJOR,
    HEAD_SIZE_MAX,
    RECORD_MAJOR,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from tallystick.recorder.files import Files


def read_head(data: bytes, at: int) -> "tuple[int, int, int]":
    """(major, argument, position after it) of a head of CBOR."""
    # That of evidence/cbor.py, whose import would load the decoder.
    if at >= len(data):
        raise Malformed("truncated", "the journal ends in a head")
    major = data[at] >> 5
    value = data[at] & 31
    at += 1
    if value < 24:
        return major, value, at
    size = 1 << (value - 24)
    if value > 27 or at + size > len(data):
        raise Malformed("truncated", "the journal has no head there")
    value = int.from_bytes(data[at : at + size], "big")
    if value < (24 if size == 1 else 1 << (size << 2)):
        raise Malformed("non-canonical", "the journal has a head longer than needed")
    return major, value, at + size


class Frame:
    """Where a frame lies: `at` its check, `begin` to `end` its content."""

    def __init__(self, major: int, check: bytes, at: int, begin: int, end: int) -> None:
        self.major = major
        self.check = check
        self.at = at
        self.begin = begin
        self.end = end


class Walker:
    """The frames of a file, one after another, without holding more than one."""

    def __init__(self, files: "Files", name: str, at: int = 0) -> None:
        self._handle = files.reading(name)
        self._size = files.size(name)
        self.at = at
        # Where the handle stands: a seek costs a read-ahead, so it is made only when needed.
        self._place = 0

    def _seek(self, place: int) -> None:
        if self._place != place:
            self._handle.seek(place)
            self._place = place

    def next(self) -> Frame | None:
        """The next frame; None at the end; Malformed("truncated") where no whole frame follows."""
        at = self.at
        if at >= self._size:
            return None
        self._seek(at)
        data = self._handle.read(HEAD_SIZE_MAX)
        self._place += len(data)
        major, length, used = read_head(data, CHECK_SIZE)
        end = at + used + length
        if major not in (RECORD_MAJOR, CONTROL_MAJOR) or length > CONTENT_BYTES_MAX:
            raise Malformed("bad-type", "the journal has no frame at byte %d" % at)
        if end > self._size:
            raise Malformed("truncated", "the journal ends inside a frame")
        self.at = end
        return Frame(major, data[:CHECK_SIZE], at, at + used, end)

    def content(self, frame: Frame, most: int = CONTENT_BYTES_MAX) -> bytes:
        """The bytes of a frame, or the first ones."""
        self._seek(frame.begin)
        data = self._handle.read(min(most, frame.end - frame.begin))
        self._place += len(data)
        return data

    def values(self, frame: Frame) -> "list[Any]":
        """The array of a frame of ours, checked."""
        from tallystick.evidence.cbor import decode  # noqa: PLC0415  # compacting needs none

        content = self.content(frame)
        if sha256(content)[:CHECK_SIZE] != frame.check:
            raise Malformed("bad-value", "the journal is damaged at byte %d" % frame.at)
        values: "list[Any]" = decode(content)
        return values

    def pieces(self, begin: int, end: int, block: int) -> "Iterator[bytes]":
        """The bytes from `begin` to `end`, a block at a time."""
        self._seek(begin)
        while begin < end:
            data = self._handle.read(min(block, end - begin))
            if not data:
                raise Malformed("truncated", "the journal ends inside a frame")
            begin += len(data)
            self._place += len(data)
            yield data

    def close(self) -> None:
        """The file."""
        self._handle.close()
