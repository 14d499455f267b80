"""One verifying process and the pipes to it: asked, answered, ended. Nothing waits for ever."""

import contextlib
import fcntl
import os
import select
import subprocess
import sys
import time

from tallystick.evidence.folded import Folded
from tallystick.gateway import limits
from tallystick.gateway.verifier import HEAD_BYTES, Asked, answer_of, question

# What a Python process needs, of the gateway's environment; its secrets are not among it.
_PASSED_ON = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LANG", "LC_ALL", "TZ", "TMPDIR")
# Nothing is imported from the working folder, whoever may write there. PYTHONSAFEPATH says so from
# Python 3.11 on, and `-I` would not look where we are installed.
_BOOT = (
    "import sys; sys.path[:] = [one for one in sys.path if one]; "
    "from tallystick.gateway.verifier import main; main()"
)
_MS_PER_S = 1000
_GOT_BYTES_MAX = limits.AHEAD_PORTIONS_MAX * (HEAD_BYTES + limits.AHEAD_ANSWER_BYTES_MAX)
_READ_BYTES = 1 << 18


class Stuck(Exception):
    """It does not read, or does not answer, in time."""


class Ended(Exception):
    """It is no longer there."""


class Process:
    """A child without our store, keys and configuration; one thread uses it."""

    def __init__(self) -> None:
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        self._process = subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-c", _BOOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=environment,
        )
        self.pid = self._process.pid
        if self._process.stdin is None or self._process.stdout is None:  # as asked for above
            raise Ended
        self._in = self._process.stdin.fileno()
        self._out = self._process.stdout.fileno()
        self._got = bytearray()
        self._answered = False
        # A portion goes with one call then. The system may have no more room for pipes.
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, limits.AHEAD_PIPE_BYTES)
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)

    def ask(self, asked: list[Asked]) -> None:
        """Hand a portion over; it reads it while it may still work on another one."""
        left = memoryview(question(asked))
        until_s = self._until_s()
        while left:
            try:
                left = left[os.write(self._in, left) :]
            except BlockingIOError:
                # Read too: it writes a long answer before it reads on, and both would wait.
                ready = _wait({self._in: select.POLLOUT, self._out: select.POLLIN}, until_s)
                if self._out in ready:
                    self._take()
            if left and time.monotonic() >= until_s:
                raise Stuck

    def answer(self) -> list[Folded | None]:
        """The answer to the oldest portion that is not answered."""
        until_s = self._until_s()
        size = int.from_bytes(self._read(HEAD_BYTES, until_s), "big")
        if size > limits.AHEAD_ANSWER_BYTES_MAX:
            raise Ended(f"an answer of {size} bytes")
        found = answer_of(self._read(size, until_s))
        self._answered = True
        return found

    def check(self) -> None:
        """Ended when it has ended meanwhile."""
        if self._process.poll() is not None:
            raise Ended(self._process.returncode)

    def _until_s(self) -> float:
        # Until it has answered once it may still import what it needs.
        most_s = limits.AHEAD_ANSWER_S_MAX if self._answered else limits.AHEAD_START_S_MAX
        return time.monotonic() + most_s

    def _read(self, size: int, until_s: float) -> bytes:
        while len(self._got) < size:
            _wait({self._out: select.POLLIN}, until_s)
            self._take()
        data = bytes(self._got[:size])
        del self._got[:size]
        return data

    def _take(self) -> None:
        try:
            data = os.read(self._out, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise Ended(self._process.poll())
        self._got += data
        if len(self._got) > _GOT_BYTES_MAX:
            raise Ended("answers without end")

    def end(self) -> None:
        """Kill it: it holds nothing that could be lost."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def _wait(events: dict[int, int], until_s: float) -> set[int]:
    """The descriptors with something to do; Stuck when there is none in time."""
    poll = select.poll()
    for descriptor, event in events.items():
        poll.register(descriptor, event)
    ready = poll.poll(max(0.0, until_s - time.monotonic()) * _MS_PER_S)
    if not ready:
        raise Stuck
    return {descriptor for descriptor, _ in ready}
