"""Damaged segments wait here for validators that are asked for them, in a thread of its own.

A validator that hangs takes minutes of whoever asks it. Nothing else waits for this thread.
"""

import sqlite3
import threading

import structlog

from tallystick.evidence.errors import TallyError
from tallystick.gateway import asking, limits
from tallystick.gateway.asking import Asker, Lost

_log = structlog.get_logger("tallystick.gateway.lostsegments")
LOST_MAX = 1_024  # that wait; the scrubber names those again that had no room


class LostSegments:
    """`put` of any thread; the thread that asks is there from the first one on."""

    def __init__(self, asker: Asker, stop: threading.Event) -> None:
        self._asker = asker
        self._stop = stop
        self._lock = threading.Lock()
        self._waiting: dict[int, Lost] = {}  # by place; the oldest first
        self._more = threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, lost: Lost) -> None:
        """Have validators asked for it, soon; returns at once."""
        with self._lock:
            if lost.at not in self._waiting and len(self._waiting) >= LOST_MAX:
                del self._waiting[next(iter(self._waiting))]
            self._waiting[lost.at] = lost
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="asking", daemon=True)
            self._thread.start()
        self._more.set()

    def turn(self) -> float | None:
        """Ask once for each; seconds until the next turn, None: when there is more."""
        with self._lock:
            found = list(self._waiting.values())
        waits: list[float] = []
        for lost in found:
            if self._stop.is_set():
                break
            whole = self._asker.ask(lost)
            later_s = None if whole else self._asker.later_s
            if later_s is not None:
                waits.append(later_s)
                continue
            with self._lock:
                self._waiting.pop(lost.at, None)
        return min(waits, default=None)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._more.clear()
            try:
                wait_s = self.turn()
            except (sqlite3.Error, OSError, TallyError, KeyError) as error:
                _log.error("validators cannot be asked for damaged segments", error=str(error))
                wait_s = asking.SILENT_S
            if not self._stop.is_set():
                self._more.wait(wait_s)

    def close(self) -> None:
        """End it, once `stop` is set."""
        self._more.set()
        self._asker.cut()
        if self._thread is not None:
            self._thread.join(limits.STOP_S_MAX / 2)
