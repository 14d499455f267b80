"""What a process of devices did, and what went over their lines: two files for each of its lives.

Each line or frame is one write, made before what it tells of, so a SIGKILL loses nothing; only the
last one of a life may be torn, and then what it tells of never happened.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Words of the ledger: word, number of the device, and a number or a task.
BOOT = "boot"  # a life began; the first decision's number
ATTEMPT = "decides"  # a decision of this number is about to be recorded
URGENT = "urgent"  # it was urgent, and it returned
CLAIM = "claims"  # a claim of this task is about to be made
GIVEN = "given"  # its half was given out

UP, DOWN = 0, 1
_HEAD = struct.Struct(">BHI")


class Line(NamedTuple):
    """One line of a ledger."""

    word: str
    device: int
    what: str


class Frame(NamedTuple):
    """One message."""

    way: int
    device: int
    message: bytes


class _Appending:
    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)

    def _put(self, data: bytes) -> None:
        if os.write(self._handle, data) != len(data):
            message = "the folder of the chaos run is full"
            raise OSError(message)

    def close(self) -> None:
        os.close(self._handle)


class Ledger(_Appending):
    """What was done."""

    def say(self, word: str, device: int, what: object) -> None:
        """Before it is done, or after it returned."""
        self._put(f"{word} {device} {what}\n".encode())


class WireLog(_Appending):
    """What was sent and received."""

    def up(self, device: int, message: bytes) -> None:
        """About to be sent."""
        self._put(_HEAD.pack(UP, device, len(message)) + message)

    def down(self, device: int, message: bytes) -> None:
        """Has come, and was not looked at yet."""
        self._put(_HEAD.pack(DOWN, device, len(message)) + message)


class Lives:
    """The files of one process's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self) -> tuple[Ledger, WireLog]:
        """Another life."""
        number = len(list(self._folder.glob("*.ledger")))
        name = f"{number:04d}"
        return Ledger(self._folder / f"{name}.ledger"), WireLog(self._folder / f"{name}.wire")

    def next_numbers(self) -> dict[int, int]:
        """By device, the number that no decision was attempted with."""
        found: dict[int, int] = {}
        for life in self.ledgers():
            for word, device, what in life:
                if word == ATTEMPT:
                    found[device] = int(what) + 1
        return found

    def ledgers(self) -> list[list[Line]]:
        """A list for each life."""
        lives = []
        for path in sorted(self._folder.glob("*.ledger")):
            lines = path.read_text().split("\n")[:-1]
            parts = [line.split(" ") for line in lines]
            lives.append([Line(word, int(device), what) for word, device, what in parts])
        return lives

    def frames(self) -> Iterator[Frame]:
        """All messages, in their order."""
        for path in sorted(self._folder.glob("*.wire")):
            data, at = path.read_bytes(), 0
            while at + _HEAD.size <= len(data):
                way, device, size = _HEAD.unpack_from(data, at)
                at += _HEAD.size + size
                if at <= len(data):
                    yield Frame(way, device, data[at - size : at])
