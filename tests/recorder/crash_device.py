"""A device that is killed at its k-th operation; runs on CPython and on MicroPython.

    crash_device.py CONFIG LOG K FIRST

What it hands to its link goes into LOG, each message after its length, before the link has it. It
welcomes itself, so that it sends. K = 0 runs to the end. Prints each acknowledged number.
"""

import os
import sys

from tallystick.evidence.cbor import encode
from tallystick.recorder import Recorder
from tallystick.recorder.config import load
from tallystick.recorder.files import Files
from tallystick.recorder.memory_uplink import MemoryUplink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

WELCOME = encode([24, 1790000000000, None, None])
MICROPYTHON = sys.implementation.name == "micropython"


class Fuse:
    """Kills the process, without any clean-up, at the k-th operation."""

    def __init__(self, at: int) -> None:
        self.left = at

    def burn(self) -> None:
        self.left -= 1
        if self.left:
            return
        if MICROPYTHON:
            os.system("kill -9 $PPID")  # type: ignore[unused-ignore]
            while True:
                pass
        os._exit(9)


class FusedFiles(Files):
    """Half of a write is done when the fuse burns in it."""

    def __init__(self, folder: str, fuse: Fuse) -> None:
        self.fuse = fuse
        super().__init__(folder)

    def write(self, handle: "BinaryIO", data: bytes) -> None:
        half = len(data) // 2
        if self.fuse.left == 1:
            super().write(handle, data[:half])
        self.fuse.burn()
        super().write(handle, data)

    def sync(self, handle: "BinaryIO") -> None:
        self.fuse.burn()
        super().sync(handle)

    def rename(self, name: str, to: str) -> None:
        self.fuse.burn()
        super().rename(name, to)

    def remove(self, name: str) -> None:
        self.fuse.burn()
        super().remove(name)


class LoggedUplink(MemoryUplink):
    """Whatever left is in the log, whenever the process dies."""

    def __init__(self, path: str, fuse: Fuse) -> None:
        super().__init__()
        self.path = path
        self.fuse = fuse

    def publish_pieces(self, size: int, pieces: "Iterable[bytes]") -> bool:
        self.fuse.burn()
        done = super().publish_pieces(size, pieces)
        message = self.up.pop()
        with open(self.path, "ab") as log:  # noqa: PTH123 -- MicroPython has no pathlib
            log.write(len(message).to_bytes(4, "big") + message)
        if message[1] == 15:
            self.deliver(WELCOME)
        self.fuse.burn()
        return done


class FusedKey:
    """Any signer; the fuse may burn before or after it signs."""

    def __init__(self, signer: "object", fuse: Fuse) -> None:
        self.signer = signer
        self.fuse = fuse

    def begin(self, message: bytes) -> None:
        self.fuse.burn()
        self.signer.begin(message)  # type: ignore[attr-defined]

    def signature(self) -> bytes:
        signature: bytes = self.signer.signature()  # type: ignore[attr-defined]
        self.fuse.burn()
        return signature

    def __getattr__(self, name: str) -> "object":
        return getattr(self.signer, name)


def main(config: str, path: str, at: int, first: int) -> None:
    from tallystick.hw.signer import Signer

    fuse = Fuse(at)
    settings = load(config)
    tally = Recorder.open(
        config,
        uplink=LoggedUplink(path, fuse),
        signer=FusedKey(Signer.from_uri(settings["key"]), fuse),
        background=False,
        files=FusedFiles(settings["journal"], fuse),
    )
    number = first
    for _ in range(3):
        for _ in range(3):
            number += 1
            tally.decision("m@1", {"n": number}, output="go")
        number += 1
        tally.decision("m@1", {"n": number}, output="stop", urgent=True)
        print("ack", number)
        tally.poll(200)
    tally.flush()
    tally.poll(200)
    tally.close()
    print("end", number)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
