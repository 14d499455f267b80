"""Processes of a bench, and what they take of the machine."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from tallystick.tools.bench.result import BenchFailed
from tallystick.tools.replay.processes import STOP_S_MAX, Processes

ANSWER_S_MAX = 300.0
LOOK_S = 0.02
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# After the name of the program, which may hold anything but a closing parenthesis at its end:
# state is the first field (proc_pid_stat(5)).
_PARENT, _USER, _SYSTEM = 1, 11, 12


class Running(Processes):
    """Processes by name, that can be told something and looked at."""

    def __enter__(self) -> "Running":
        return self

    def pid(self, name: str) -> int:
        """Of one that was started."""
        return self._running[name].pid

    def tell(self, name: str, number: signal.Signals) -> None:
        """Send it a signal."""
        self._running[name].send_signal(number)

    def end(self, name: str) -> None:
        """SIGTERM, and wait; BenchFailed where it does not end well."""
        process = self._running[name]
        process.send_signal(signal.SIGTERM)
        if process.wait(STOP_S_MAX) != 0:
            self.fail(name, f"ended with {process.returncode}")

    def answer(self, name: str) -> dict[str, Any]:
        """The JSON object that one printed before it ended; BenchFailed where it does not end."""
        until = time.monotonic() + ANSWER_S_MAX
        while not self.ended(name):
            if time.monotonic() > until:
                self.fail(name, f"did not end in {ANSWER_S_MAX:.0f} s")
            time.sleep(LOOK_S)
        lines = (self._logs / f"{name}.log").read_text().splitlines()
        found: dict[str, Any] = json.loads(lines[-1])
        return found

    def cpu_s(self, name: str) -> float:
        """Seconds of processor time, of all its threads and of its children."""
        return cpu_s(self.pid(name))

    def resident_bytes(self, name: str) -> int:
        """The most memory that was ever resident."""
        for line in Path(f"/proc/{self.pid(name)}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
        message = f"{name} has ended before its time"
        raise BenchFailed("bench-failed", message)


def cpu_s(pid: int) -> float:
    """Processor seconds of a process and of its living children, which work for it."""
    total = 0.0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if pid in {int(path.parent.name), int(fields[_PARENT])}:
            total += (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS_PER_S
    return total
