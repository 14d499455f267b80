"""A program of one's own that listens on loopback: started, waited for, stopped, killed."""

import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from tallystick.evidence.errors import TransportError
from tallystick.tools._bound import bound
from tallystick.tools._interrupt import uninterrupted
from tallystick.tools._ports import HOST

# A program that ends before it listens is not waited for.
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
POLL_S = 0.02
LOG_LINES_SHOWN = 5

Own = TypeVar("Own", bound="Daemon")


class Daemon(ABC):
    """One such program: `start`, `stop` (SIGTERM), `kill` (SIGKILL); a context manager.

    A subclass says what it is. Its files live in `folder`, what it says in `log_file`.
    """

    name = ""
    failed = ""  # the reason of its errors

    def __init__(self, folder: Path, port: int, log_name: str) -> None:
        self.folder = folder
        self.host = HOST
        self.port = port
        self.log_file = folder / log_name
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """The command line; called when `folder` is there. ToolMissing: it is not installed."""

    @property
    def pid(self) -> int:
        """Of the running process; 0 where there is none."""
        return self._process.pid if self._process is not None else 0

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self: Own) -> Own:  # noqa: PYI019 - Python 3.10 has no Self
        """Start, and wait until it answers."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, whatever happened."""
        self.stop()

    def start(self) -> None:
        """Start it and return when it accepts connections.

        :raises ToolMissing: it is not installed.
        :raises TransportError: it runs already, or did not start: its last words follow.
        """
        if self.running:
            message = f"this {self.name} runs already, on port {self.port}"
            raise TransportError(self.failed, message)
        self.folder.mkdir(parents=True, exist_ok=True)
        command = bound(self.command())
        try:
            with self.log_file.open("ab") as log, uninterrupted():
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            self._wait_until_it_answers()
        except BaseException:
            # An interrupted start is never stopped by `with`.
            self.kill()
            raise

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.running:
            try:
                socket.create_connection((self.host, self.port), timeout=POLL_S).close()
            except OSError:
                time.sleep(POLL_S)
            else:
                return
        lines = self.log_file.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        said = "; ".join(lines) or "nothing"
        message = f"{self.name} did not start on port {self.port}; it said: {said}"
        raise TransportError(self.failed, message)

    def send(self, how: signal.Signals) -> None:
        """A signal, where it runs."""
        if self._process is not None:
            self._process.send_signal(how)

    def stop(self) -> None:
        """End it so that it saves what it has; kill it when it does not end in time."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash, a power cut or pulling it out would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
