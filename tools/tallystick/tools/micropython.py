"""MicroPython on this machine: the installed one, or Debian's unpacked into the user's cache.

Debian 12 has no package of it; Debian 13's needs a newer C library than Debian 12 has. So its
packages are unpacked together with that C library and run through that library's own loader, which
changes nothing on the system. The i386 build has the 32-bit words of a microcontroller.
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tallystick.tools._apt import unpack
from tallystick.tools._cache import ToolMissing, folder_once

SUITE = "trixie"
VERSION_MIN = (1, 22)
RUN_TIMEOUT_S = 240
PACKAGES = (
    "micropython",
    "libc6",
    "libffi8",
    "libgcc-s1",
    "libmbedcrypto16",
    "libmbedtls21",
    "libmbedx509-7",
)
# Word size in bits to Debian's architecture, its library folder and its loader.
BUILDS = {
    64: ("amd64", "x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
    32: ("i386", "i386-linux-gnu", "ld-linux.so.2"),
}
_ASK = "import sys; v = sys.implementation[1]; print(v[0], v[1], 64 if sys.maxsize > 2**32 else 32)"


@dataclass(frozen=True)
class MicroPython:
    """A MicroPython that was seen to run."""

    command: tuple[str, ...]
    version: tuple[int, int]
    bits: int

    def argv(self, *args: str, heap: str | None = None) -> list[str]:
        """The whole command line; `heap` as MicroPython takes it ("64k"), None for its default."""
        limit = ["-X", f"heapsize={heap}"] if heap else []
        return [*self.command, *limit, *args]

    def environment(self, path: Sequence[Path] = ()) -> dict[str, str]:
        """An environment in which `path` is looked up before MicroPython's frozen modules.

        MicroPython's list starts with an empty entry (the working folder) and ends with `.frozen`;
        setting MICROPYPATH replaces it, so both are named again.
        """
        return {"MICROPYPATH": ":".join(["", *(str(folder) for folder in path), ".frozen"])}

    def run(
        self,
        *args: str,
        heap: str | None = None,
        path: Sequence[Path] = (),
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout_s: float = RUN_TIMEOUT_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end and hand back output, error output and code; never raises on a code.

        :raises subprocess.TimeoutExpired: after `timeout_s`; the process is gone then.
        """
        return subprocess.run(
            self.argv(*args, heap=heap),
            cwd=cwd,
            env={**self.environment(path), **(env or {})},
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


def find(bits: int = 64) -> MicroPython:
    """MicroPython with words of `bits` (64 or 32): the installed one, else the cached one.

    :raises ToolMissing: in one sentence, why there is none and what to do.
    """
    if bits not in BUILDS:
        message = f"MicroPython comes with words of 64 or 32 bits, not {bits}"
        raise ToolMissing("bad-word-size", message)
    installed = shutil.which("micropython")
    if installed:
        found = _probe((installed,))
        if found and found.bits == bits and found.version >= VERSION_MIN:
            return found
    arch, _, _ = BUILDS[bits]
    try:
        folder = folder_once(f"micropython-{SUITE}-{arch}", lambda made: _unpack(made, bits))
    except ToolMissing as error:
        least = ".".join(str(number) for number in VERSION_MIN)
        advice = f"install MicroPython {least} or newer (apt install micropython) and run again"
        if bits == 32:
            advice = "the 32-bit build comes from Debian's archive only"
        message = f"no {bits}-bit MicroPython here: {error.message}; {advice}"
        raise ToolMissing("no-micropython", message) from error
    found = _probe(_prefix_command(folder, bits))
    if found is None:
        message = f"the MicroPython in {folder} does not run; remove that folder and run again"
        raise ToolMissing("no-micropython", message)
    return found


def _unpack(folder: Path, bits: int) -> None:
    arch, _, _ = BUILDS[bits]
    unpack(SUITE, arch, PACKAGES, folder)
    if _probe(_prefix_command(folder, bits)) is None:
        message = f"Debian's {arch} MicroPython does not run on this machine"
        raise ToolMissing("no-micropython", message)


def _prefix_command(folder: Path, bits: int) -> tuple[str, ...]:
    _, triplet, loader = BUILDS[bits]
    libraries = folder / "usr" / "lib" / triplet
    program = folder / "usr" / "bin" / "micropython"
    return (str(libraries / loader), "--library-path", str(libraries), str(program))


def _probe(command: tuple[str, ...]) -> MicroPython | None:
    """What this command is, by its own words, or None when it is no MicroPython that runs."""
    try:
        done = subprocess.run(
            [*command, "-c", _ASK],
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
            check=False,
        )
        major, minor, bits = (int(word) for word in done.stdout.split())
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return MicroPython(command, (major, minor), bits)
