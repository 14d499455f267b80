"""A few processes that are many connected devices: asked together, heard together."""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from tallystick.tools._interrupt import uninterrupted
from tallystick.tools.bench.result import BenchFailed

PROCESSES = 4
STOP_S_MAX = 30.0
LAST_WORDS_BYTES = 2_000
_MODULE = "tallystick.tools.bench.fleet_devices"


class Crew:
    """All devices, spread over the processes; a context manager that leaves nothing running."""

    def __init__(self, folder: Path, labels: Sequence[str], **job: Any) -> None:
        # job: as fleet_devices.py reads it, but for labels and seed.
        self._folder = folder
        self._jobs = [
            {**job, "labels": part, "seed": number, "of": min(PROCESSES, len(labels))}
            for number in range(PROCESSES)
            if (part := labels[number::PROCESSES])
        ]
        self._running: list[subprocess.Popen[str]] = []
        self._stack = ExitStack()

    def __enter__(self) -> "Crew":
        """Start, and connect every device."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            for job in self._jobs:
                log = self._stack.enter_context((self._folder / f"{job['seed']}.log").open("wb"))
                with uninterrupted():
                    self._running.append(
                        subprocess.Popen(
                            [sys.executable, "-m", _MODULE],
                            stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE,
                            stderr=log,
                            text=True,
                            # Ctrl-C is ours to handle.
                            start_new_session=True,
                        )
                    )
            self._ask([{"task": "start", **job} for job in self._jobs])
        except BaseException:
            self._end(at_once=True)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Disconnect; at once where something failed."""
        self._end(at_once=kind is not None)

    def ask(self, task: str, **arguments: Any) -> list[dict[str, Any]]:
        """Let all do it at the same time; what each of them answers."""
        return self._ask([{"task": task, **arguments} for _ in self._running])

    def share(self, task: str, name: str, total: int) -> list[dict[str, Any]]:
        """As ask, with a number that is divided as the devices are."""
        counts = [len(job["labels"]) for job in self._jobs]
        parts, left, devices = [], total, sum(counts)
        for count in counts:
            part = left * count // devices
            parts.append({"task": task, name: part})
            left, devices = left - part, devices - count
        return self._ask(parts)

    def _ask(self, tasks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        for process, task in zip(self._running, tasks, strict=True):
            if process.stdin is not None:
                process.stdin.write(json.dumps(task) + "\n")
                process.stdin.flush()
        return [self._answer(number) for number in range(len(self._running))]

    def _answer(self, number: int) -> dict[str, Any]:
        stdout = self._running[number].stdout
        line = "" if stdout is None else stdout.readline()
        if not line:
            said = (self._folder / f"{number}.log").read_bytes()[-LAST_WORDS_BYTES:]
            words = said.decode(errors="replace")
            message = f"a process of devices ended before its time; its last words:\n{words}"
            raise BenchFailed("bench-failed", message)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BenchFailed("bench-failed", answer["error"])
        return answer

    def _end(self, *, at_once: bool) -> None:
        for process in self._running:
            if at_once:
                process.kill()
            if process.stdin is not None:
                # It ends with its input; what was not read any more is nobody's loss.
                try:
                    process.stdin.close()
                except BrokenPipeError:
                    continue
        for process in self._running:
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._stack.close()
