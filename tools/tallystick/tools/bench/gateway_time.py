"""Where a gateway's time goes: its worker sampled, its other threads by their own clocks.

A thread that looks at other threads gets its turn where they give up Python's lock, which is in
SQLite and in signatures: it would see little else. So the worker runs in the main thread, where a
signal interrupts it at any place, and each sample weighs as much as the thread's own clock moved
since the last. What a COMMIT waits for the disk counts too, by the wall clock; a wait for messages
does not. A function in C counts for the Python code that called it, which is why sorting goes by
files, and what is SQL by the line that asks for it.
"""

import linecache
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from rich.table import Table

from tallystick.tools.bench import pictures

EVERY_S = 0.001
BROKER, HASHING, SIGNATURE = "broker client", "hashing", "signature"
SQLITE, PYTHON = "SQLite and disk", "other Python"
NAMES = (BROKER, HASHING, SIGNATURE, SQLITE, PYTHON)
# The first frame from the innermost that lies in such a file says what a sample is. The library of
# a peer counts as its signature, with what it encodes for it.
FILES = {
    BROKER: ("/paho/",),
    HASHING: (
        "evidence/tree.py", "evidence/leaf.py", "evidence/digest.py", "evidence/_paths.py",
        "evidence/ids.py",
    ),
    SIGNATURE: (
        "/nacl/", "/cryptography/", "evidence/cose.py", "evidence/keys.py", "hw/software_key.py",
        "hw/_software.py", "gateway/signing.py", "/scitt_cose/", "/agent_receipts/",
        "bench/peers.py",
    ),
}  # fmt: skip
SQL_WORDS = (".execute(", ".executemany(", ".fetchone(", ".fetchall(")
COMMIT = "COMMIT"
# By what a thread's name begins with; every other one is Python.
THREADS = {BROKER: ("paho",)}


class Clock:
    """Seconds by kind from `begin` on; the main thread's affair, but for other threads' clocks.

    names, files: the kinds, and what says which a sample is; SQL and Python are always among them.
    """

    def __init__(
        self,
        names: Sequence[str] = NAMES,
        files: Mapping[str, Sequence[str]] = FILES,
    ) -> None:
        self._names = names
        self._kinds = files
        self._seconds = dict.fromkeys(names, 0.0)
        self._files: dict[str, str | None] = {}
        self._lines: dict[tuple[str, int], str | None] = {}
        self._others: dict[int, float] = {}
        self._cpu_s = self._wall_s = 0.0

    def begin(self) -> None:
        """From now on; what was counted before is forgotten."""
        if threading.current_thread() is not threading.main_thread():
            message = "signals reach the main thread only"
            raise RuntimeError(message)
        self._seconds = dict.fromkeys(self._names, 0.0)
        self._others = {one: cpu_s for one, (_, cpu_s) in _others().items()}
        signal.signal(signal.SIGALRM, self._sample)
        signal.siginterrupt(signal.SIGALRM, False)  # noqa: FBT003 - the standard library's
        self._cpu_s, self._wall_s = time.thread_time(), time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, EVERY_S, EVERY_S)

    def end(self) -> None:
        """Sample no more, and read the other threads' clocks; they must live still."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        for one, (name, cpu_s) in _others().items():
            self._seconds[thread_kind(name)] += cpu_s - self._others.get(one, 0.0)

    def told(self) -> dict[str, float]:
        """Seconds by kind."""
        return {name: round(max(0.0, self._seconds[name]), 4) for name in self._names}

    def _sample(self, _signal: int, frame: FrameType | None) -> None:
        cpu_s, wall_s = time.thread_time(), time.perf_counter()
        kind, waits = self._kind_of(frame)
        self._seconds[kind] += wall_s - self._wall_s if waits else cpu_s - self._cpu_s
        # What this took is nobody's.
        self._cpu_s, self._wall_s = time.thread_time(), time.perf_counter()

    def _kind_of(self, frame: FrameType | None) -> tuple[str, bool]:
        while frame is not None:
            # What the compiler adds has no line.
            at = frame.f_code.co_filename, frame.f_lineno or 0
            if at not in self._lines:
                self._lines[at] = sql_of(linecache.getline(*at))
            sql = self._lines[at]
            if sql is not None:
                return SQLITE, sql == COMMIT
            if at[0] not in self._files:
                self._files[at[0]] = kind_of(at[0], self._kinds)
            kind = self._files[at[0]]
            if kind is not None:
                return kind, False
            frame = frame.f_back
        return PYTHON, False


def kind_of(filename: str, files: Mapping[str, Sequence[str]] = FILES) -> str | None:
    """What time in a file counts as; None where its caller tells."""
    for kind, parts in files.items():
        if any(part in filename for part in parts):
            return kind
    # A library works for whoever calls it; our own other files are bookkeeping.
    return PYTHON if "/tallystick/" in filename else None


def sql_of(line: str) -> str | None:
    """COMMIT for a line that waits for the disk, "" for other SQL, None for anything else."""
    if not any(word in line for word in SQL_WORDS):
        return None
    return COMMIT if COMMIT in line else ""


def thread_kind(name: str) -> str:
    """What a thread's time counts as, but for the main thread's."""
    for kind, begins in THREADS.items():
        if name.startswith(begins):
            return kind
    return PYTHON


def _others() -> dict[int, tuple[str, float]]:
    """Name and CPU seconds of each living thread but the main one, by its number."""
    found = {}
    for thread in threading.enumerate():
        if thread is threading.main_thread() or thread.ident is None:
            continue
        clock = time.pthread_getcpuclockid(thread.ident)
        found[thread.ident] = thread.name, time.clock_gettime(clock)
    return found


def shares(seconds: Mapping[str, float]) -> dict[str, float]:
    """Of 1, by kind; all zero where nothing was counted."""
    total = sum(seconds.values()) or 1.0
    return {name: round(value / total, 4) for name, value in seconds.items()}


def draw(
    path: Path,
    title: str,
    found: Mapping[str, Mapping[str, float]],
    names: Sequence[str] = NAMES,
) -> None:
    """A bar for each gateway, of its shares."""
    bars = {name: [one[kind] for kind in names] for name, one in found.items()}
    pictures.shares(path, title, names, bars)


def table(seconds: Mapping[str, Mapping[str, float]], names: Sequence[str] = NAMES) -> Table:
    """Shares by gateway, for people."""
    made = Table(title="the gateway's time", title_justify="left")
    made.add_column("what")
    for name in seconds:
        made.add_column(name, justify="right")
    found = [shares(one) for one in seconds.values()]
    for kind in names:
        made.add_row(kind, *(f"{one[kind]:.1%}" for one in found))
    return made
