"""The processes of a run: started, told to be ready by sd_notify, killed, paused, starved."""

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from support.wallclock import WallClock
from tallystick.tools._bound import bound

TALLY = ("-c", "from tallystick.tools.main import main; main()")
STOP_S_MAX = 60.0
# What a full disk still takes of a file.
FULL_BYTES = 4096
LOG_CHARS_SHOWN = 2000


class Wrong(AssertionError):
    """What must never be."""


class Part:
    """One process; `wanted` says whether it is to live now. `clock`: its machine's, to be set."""

    def __init__(self, name: str, folder: Path, *words: str, clock: bool = False) -> None:
        self.name = name
        self.folder = folder
        self.words = words
        self.clock = WallClock(folder / "clock") if clock else None
        self.log = folder / f"{name}.log"
        self.wanted = self.ready = self.hurt = False
        self.starts = self.kills = 0
        # Of all processes that were this part, until they ended.
        self.cpu_s = 0.0
        self.said: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._door: socket.socket | None = None

    def start(self, *, lives: bool = True) -> None:
        """Begin; `look` tells when it is ready. lives: whether it must not end by itself."""
        self.wanted, self.ready = lives, False
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(str(Path(path).resolve()) for path in sys.path),
            "NOTIFY_SOCKET": self._open(),
            # Each start would compile the whole product.
            "PYTHONDONTWRITEBYTECODE": "",
            # Where a program ends by a signal, its log has where it was.
            "PYTHONFAULTHANDLER": "1",
            **({} if self.clock is None else self.clock.environment),
        }
        self.starts += 1
        # Not the log's own file: its disk may be full, and a journal of a system has another one.
        self._process = subprocess.Popen(
            bound([sys.executable, *self.words]),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        with self.log.open("ab") as log:
            for line in process.stdout:
                if line.startswith(b'{"next"'):
                    if process is self._process:
                        with contextlib.suppress(ValueError):  # torn by a kill
                            self.said = json.loads(line)
                            self.ready = True
                else:
                    log.write(line)
                    log.flush()

    def _open(self) -> str:
        """A door of this life's, read by a thread: nobody who tells its manager waits for us."""
        self._shut()
        self._door = door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = f"tallystick-chaos-{os.getpid()}-{id(self)}-{self.starts}"
        door.bind(f"\0{address}")
        threading.Thread(target=self._hear, args=(door,), daemon=True).start()
        return f"@{address}"

    def _hear(self, door: socket.socket) -> None:
        while True:
            try:
                heard = door.recv(4096)
            except OSError:
                return
            if not heard:
                return
            if b"READY=1" in heard and door is self._door:
                self.ready = True

    def _shut(self) -> None:
        door, self._door = self._door, None
        if door is not None:
            with contextlib.suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)  # its thread waits in it
            door.close()

    def look(self) -> None:
        """Wrong where it ended by itself."""
        process = self._process
        if self.wanted and process is not None and process.poll() is not None:
            message = f"{self.name} ended by itself with {process.returncode}: {self.last_words()}"
            raise Wrong(message)

    def ended(self, *, well: bool = True) -> bool:
        """Whether it ended by itself, which it was to; Wrong where it ended otherwise."""
        process = self._process
        if process is None:
            return True
        if process.poll() is None:
            return False
        if (process.returncode == 0) is not well:
            message = f"{self.name} ended with {process.returncode}: {self.last_words()}"
            raise Wrong(message)
        self._reap(process)
        self._process = None
        return True

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-LOG_CHARS_SHOWN:] if self.log.exists() else ""

    def tell(self, **what: object) -> None:
        """A command, to a process of devices."""
        if self.wanted and self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.write(json.dumps(what).encode() + b"\n")
                self._process.stdin.flush()

    def signal(self, how: signal.Signals) -> None:
        """To the process, where it is to live."""
        if self.wanted and self._process is not None:
            self._process.send_signal(how)

    def fill(self, *, full: bool) -> None:
        """No file of it may grow beyond a page; or all may."""
        if self.wanted and self._process is not None:
            bound = FULL_BYTES if full else resource.RLIM_INFINITY
            with contextlib.suppress(ProcessLookupError):
                limits = bound, resource.RLIM_INFINITY
                resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, limits)

    def kill(self) -> None:
        """SIGKILL."""
        self.wanted = self.ready = False
        self.said = {}
        self.cpu_s += self._cpu_s()
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            self._reap(process)
            self.kills += 1

    def stop(self) -> None:
        """As its manager stops it; Wrong where it does not end well."""
        process = self._process
        if process is None:
            return
        self.wanted = False
        self.cpu_s += self._cpu_s()
        if self.words[0] == TALLY[0]:
            process.send_signal(signal.SIGTERM)
        elif process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired as error:
            message = f"{self.name} does not stop: {self.last_words()}"
            raise Wrong(message) from error
        self._reap(process)
        self._process = None
        if process.returncode != 0:
            message = f"{self.name} stopped with {process.returncode}: {self.last_words()}"
            raise Wrong(message)

    def _cpu_s(self) -> float:
        if self._process is None:
            return 0.0
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        """Memory of the process that runs now."""
        if self._process is None:
            return 0
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        except OSError:
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    @staticmethod
    def _reap(process: "subprocess.Popen[bytes]") -> None:
        process.wait()
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()

    def close(self) -> None:
        """Whatever happened."""
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.send_signal(signal.SIGCONT)
            self.kill()
        self._shut()


def wait_until(true: Any, s_max: float, what: str, step_s: float = 0.2) -> None:
    """Wrong where it does not come."""
    end_s = time.monotonic() + s_max
    while not true():
        if time.monotonic() >= end_s:
            message = f"{what} did not come in {s_max:.0f} s"
            raise Wrong(message)
        time.sleep(step_s)
