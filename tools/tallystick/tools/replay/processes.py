"""The processes of a replay: started, watched, and ended whatever happens."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tallystick.evidence.errors import TallyError
from tallystick.tools._interrupt import uninterrupted

STOP_S_MAX = 45.0
LAST_WORDS_BYTES = 2_000


class Processes:
    """Named processes whose output goes to files; a context manager that leaves nothing running."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        logs.mkdir(parents=True, exist_ok=True)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._running.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, name: str, command: Sequence[str], **environment: str) -> None:
        """Start one; what it prints goes to a file of its name, after what an earlier one said."""
        mode = "ab" if name in self._running else "wb"
        with (self._logs / f"{name}.log").open(mode) as log, uninterrupted():
            # A session of its own: Ctrl-C is ours to handle, and reaches them in the right order.
            self._running[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
            )

    def tally(self, name: str, *arguments: str) -> None:
        """Start one of our own commands."""
        self.start(
            name,
            [sys.executable, "-c", "from tallystick.tools.main import main; main()", *arguments],
        )

    def ended(self, name: str) -> bool:
        """Whether it has ended well; raises with its last words when it ended badly."""
        code = self._running[name].poll()
        if code is None:
            return False
        if code != 0:
            self.fail(name, f"ended with {code}")
        return True

    def check(self, names: Sequence[str]) -> None:
        """Raise when one that should run has ended."""
        for name in names:
            if self._running[name].poll() is not None:
                self.fail(name, "ended before its time")

    def kill(self, name: str) -> None:
        """End one as a crash does."""
        self._running[name].kill()
        self._running[name].wait()

    def fail(self, name: str, what: str) -> None:
        """Raise with what it last said."""
        words = (
            (self._logs / f"{name}.log").read_bytes()[-LAST_WORDS_BYTES:].decode(errors="replace")
        )
        raise TallyError("replay-failed", f"{name} {what}; its last words:\n{words}")
