"""Worker processes of a validator's own: so many, and one that ends by itself is started again."""

import subprocess
import threading
import time
from collections.abc import Sequence

import structlog

from tallystick.hw.secret import environment_without
from tallystick.validator.limits import (
    CREW_LOOK_S,
    SHUTDOWN_S_MAX,
    WORKER_RESTART_S_MAX,
    WORKER_RESTART_S_MIN,
)

_LOG = structlog.get_logger("tallystick.validator.crew")


class Crew:
    """A context manager; `command` is a worker's, which ends when this process does."""

    def __init__(self, command: Sequence[str], count: int) -> None:
        self._command = list(command)
        self._places = [_Place() for _ in range(count)]
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="crew", daemon=True)

    def __enter__(self) -> "Crew":
        if self._places:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        if self._places:
            self._thread.join()
        running = [place.process for place in self._places if place.process is not None]
        for process in running:
            process.terminate()
        until_s = time.monotonic() + SHUTDOWN_S_MAX
        for process in running:
            try:
                process.wait(max(0.0, until_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                # It is stopped, or hangs; what it had begun is another's again.
                process.kill()
                process.wait()

    @property
    def pids(self) -> list[int]:
        """Who runs now."""
        running = [place.process for place in self._places if place.process is not None]
        return [process.pid for process in running if process.poll() is None]

    def _watch(self) -> None:
        while not self._ending.is_set():
            for place in self._places:
                place.look(self._command)
            self._ending.wait(CREW_LOOK_S)


class _Place:
    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._begin_s = 0.0
        self._wait_s = WORKER_RESTART_S_MIN

    def look(self, command: list[str]) -> None:
        now_s = time.monotonic()
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return
            self.process = None
            self._ended(now_s)
            _LOG.warning("worker-ended", code=code)
        if now_s >= self._begin_s:
            self._begin_s = now_s
            try:
                self.process = subprocess.Popen(  # noqa: S603 - our own program
                    command, stdin=subprocess.DEVNULL, env=environment_without()
                )
            except OSError as error:
                # No memory, no process left, a program that is being replaced: later again.
                self._ended(now_s)
                _LOG.error("worker-not-started", error=error.strerror or str(error))

    def _ended(self, now_s: float) -> None:
        # One that worked for a while begins again at once; one that cannot begin, ever later.
        well = now_s - self._begin_s > WORKER_RESTART_S_MAX
        self._wait_s = WORKER_RESTART_S_MIN if well else self._wait_s
        self._begin_s = now_s + self._wait_s
        self._wait_s = min(2 * self._wait_s, WORKER_RESTART_S_MAX)
