# ruff: noqa: PTH104, PTH107, PTH116, PTH123
"""Halves through files: a folder that both robots see, or a stick that is carried between them.

    python halves_file.py giver    CONFIG PEER_ID FOLDER
    python halves_file.py receiver CONFIG PEER_ID FOLDER

Each robot writes `<its peer>.half`, whole or not at all, and reads and removes its own. What else
lies there, and what is too long for a half, is left alone.
"""

import os
import sys

from halves import HALF_BYTES_MAX, handover  # type: ignore[import-not-found]  # beside this one


class Folder:
    """A link of two files."""

    def __init__(self, own: str, peer: str, folder: str) -> None:
        self._out = folder + "/" + peer + ".half"
        self._in = folder + "/" + own + ".half"

    def send(self, half: bytes) -> None:
        """In place of the one before. A rename is whole or not at all, also on a stick."""
        part = self._out + ".part"
        with open(part, "wb") as file:
            file.write(half)
            file.flush()
            if hasattr(os, "fsync"):
                os.fsync(file.fileno())
        os.rename(part, self._out)
        if hasattr(os, "sync"):
            os.sync()

    def receive(self) -> bytes | None:
        """What lies there for this robot, once."""
        try:
            # The size first: reading takes heap.
            if os.stat(self._in)[6] > HALF_BYTES_MAX:
                return None
            with open(self._in, "rb") as file:
                data = file.read()
            os.remove(self._in)
        except OSError:
            return None
        return data

    def close(self) -> None:
        """Nothing to give back."""


if __name__ == "__main__":
    sys.exit(handover(Folder, *sys.argv[1:5]))
