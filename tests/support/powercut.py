"""Power cuts: a folder, a key and a link that stop at the k-th operation.

The folder forgets what was not synced: at a cut each file keeps its synced part and a chosen part
of the rest, of which the last bytes may be rubbish. Key and link are the real ones; the cut falls
before or after what they do.
"""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from tallystick.hw.software_key import FileKey
from tallystick.recorder.files import Files
from tallystick.recorder.memory_uplink import MemoryUplink


class PowerCutError(BaseException):
    """Nothing after this happened."""


class WrongOrderError(BaseException):
    """Signed or sent before it was durable; no recorder may take it for a driver's fault."""


class Power:
    """Counts operations; the k-th one is cut, and nothing works after it."""

    def __init__(self, cut_at: int | None, seed: int) -> None:
        self.cut_at = cut_at
        self.count = 0
        self.chance = random.Random(seed)
        self.off = False

    def step(self) -> bool:
        """True where the power goes in the middle of this operation."""
        if self.off:
            raise PowerCutError
        self.count += 1
        if self.count == self.cut_at:
            self.off = True
            return True
        return False

    def cut(self) -> None:
        """Before or after an operation that has no middle."""
        if self.step():
            raise PowerCutError


class CutFiles(Files):
    """A folder of files that lose what was not synced."""

    def __init__(self, folder: str, power: Power) -> None:
        self.power = power
        # Synced lengths by name; a name that was never synced is not durable at all.
        self.synced: dict[str, int] = {}
        self.names_of: dict[int, str] = {}
        super().__init__(folder)
        for name in self.names():
            self.synced[name] = self.size(name)

    def lock(self) -> None:
        """A power cut leaves no lock, and this process lives on."""

    def appending(self, name: str) -> BinaryIO:
        self.power.cut()
        handle = super().appending(name)
        self.names_of[id(handle)] = name
        self.synced.setdefault(name, 0)
        return handle

    def write(self, handle: BinaryIO, data: bytes) -> None:
        if self.power.step():
            super().write(handle, data[: self.power.chance.randrange(len(data) + 1)])
            raise PowerCutError
        super().write(handle, data)

    def sync(self, handle: BinaryIO) -> None:
        if self.power.step():
            if self.power.chance.random() < 0.5:
                self._synced(handle)
            raise PowerCutError
        super().sync(handle)
        self._synced(handle)

    def _synced(self, handle: BinaryIO) -> None:
        name = self.names_of[id(handle)]
        self.synced[name] = self.size(name)

    def rename(self, name: str, to: str) -> None:
        if self.power.step():
            if self.power.chance.random() < 0.5:
                self._rename(name, to)
            raise PowerCutError
        self._rename(name, to)

    def _rename(self, name: str, to: str) -> None:
        super().rename(name, to)
        self.synced[to] = self.synced.pop(name)
        for key, known in self.names_of.items():
            if known == name:
                self.names_of[key] = to

    def remove(self, name: str) -> None:
        self.power.cut()
        super().remove(name)
        self.synced.pop(name, None)

    def holds(self, data: bytes) -> bool:
        """Whether these bytes are in the synced part of a file."""
        return any(
            data in Path(self.path(name)).read_bytes()[:synced]
            for name, synced in self.synced.items()
            if Path(self.path(name)).exists()
        )

    def lose(self) -> None:
        """What the flash holds when the power comes back."""
        chance = self.power.chance
        for name in list(self.synced):
            path = Path(self.path(name))
            if not path.exists():
                continue
            data = path.read_bytes()
            synced = self.synced[name]
            kept = synced + chance.randrange(len(data) - synced + 1)
            tail = bytearray(data[synced:kept])
            if tail and chance.random() < 0.5:
                # Blocks are written in any order: what was not synced may be anything.
                at = chance.randrange(len(tail))
                tail[at:] = chance.randbytes(len(tail) - at)
            path.write_bytes(data[:synced] + tail)


class CutKey(FileKey):
    """A real key; the power may go before it signs or after."""

    power: Power
    files: CutFiles

    def begin(self, message: bytes) -> None:
        # The payload is the last byte string of what is signed, of more than 48 bytes.
        if not self.files.holds(message[-48:]):
            raise WrongOrderError("signed before it was synced")
        self.power.cut()
        super().begin(message)

    def signature(self) -> bytes:
        signature = super().signature()
        self.power.cut()
        return signature


class CutUplink(MemoryUplink):
    """A real link in memory; the power may go before a message left or after."""

    def __init__(self, files: CutFiles) -> None:
        super().__init__()
        self.files = files
        self.power = files.power

    def publish_pieces(self, size: int, pieces: Iterable[bytes]) -> bool:
        self.power.cut()
        done = super().publish_pieces(size, pieces)
        # A segment ends with its checkpoint, and that with its signature.
        if self.up[-1][1] == 13 and not self.files.holds(self.up[-1][-64:]):
            raise WrongOrderError("sent before it was synced")
        self.power.cut()
        return done
