"""The wall clock of a process, set while it runs and while it is down: really, beneath its libc.

A small library is preloaded (wallclock.c, compiled once). libfaketime, which serves MicroPython
(faketime.py), does not serve CPython: `time.sleep` fails under it, for it moves the time of a
`clock_nanosleep` on CLOCK_MONOTONIC too (0.9.10, Python 3.11).
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tallystick.tools._cache import ToolMissing, folder_once

SOURCE = Path(__file__).with_suffix(".c")
FLAGS = ("-O2", "-Wall", "-Wextra", "-shared", "-fPIC")
COMPILE_S_MAX = 120


class WallClock:
    """Its file, and `environment` for the processes whose clock it is."""

    def __init__(self, path: Path) -> None:
        self.offset_ms = 0
        self._path = path
        path.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library()), "TALLY_TEST_CLOCK": str(path)}

    def set(self, offset_ms: int) -> None:
        """From now on it is wrong by so much."""
        self.offset_ms = offset_ms
        file = os.open(self._path, os.O_WRONLY)
        try:
            # One write of eight bytes, which who has it mapped sees whole.
            os.pwrite(file, (offset_ms * 1_000_000).to_bytes(8, "little", signed=True), 0)
        finally:
            os.close(file)


def library() -> Path:
    """What is preloaded. ToolMissing where there is no C compiler."""
    name = "wallclock-" + hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    return folder_once(name, _compile) / "wallclock.so"


def _compile(folder: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        raise ToolMissing("no-cc", "no C compiler is installed; install gcc and libc6-dev")
    made = folder / "wallclock.so"
    subprocess.run(
        [compiler, *FLAGS, "-o", str(made), str(SOURCE), "-ldl", "-lpthread"],
        check=True,
        timeout=COMPILE_S_MAX,
    )
