"""Finds threads that hang, from a thread of its own that takes no lock of anybody's.

A thread that shows no sign of life (lives.py) for longer than it may is repaired where somebody can
(the MQTT client by broker.py, the page by service.py). Any other one may hold the store's lock, and
nothing in this process can take that from it. So one line says which thread, since when and where
it stands, and the process is to end: whoever supervises it starts it anew, and what was not
acknowledged comes again. See docs/adr/0020.
"""

import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import structlog

from tallystick.evidence.errors import TallyError
from tallystick.gateway import limits, lives

# Of the process, where a thread hangs: nothing else ends with it. EX_SOFTWARE of sysexits.h.
EXIT_CODE = 70
_log = structlog.get_logger("tallystick.gateway.watchdog")


@dataclass(frozen=True)
class Watched:
    """A thread, and for how long it may show no sign of life."""

    thread: threading.Thread
    most_s: float
    # Somebody looks into `Watchdog.hanging` and puts another one in its place.
    mended: bool = False


@dataclass(frozen=True)
class Hang:
    """A thread that hangs and cannot be helped."""

    thread: str
    silent_s: float
    since: str  # by the machine's clock, UTC
    stack: str  # files, lines and functions, innermost first; no values, so no secrets

    def __str__(self) -> str:
        return (
            f"{self.thread} hangs since {self.since} ({self.silent_s:.0f} s), in {self.stack}; the "
            "process must end and be started again, which loses nothing"
        )


class Hanging(TallyError):
    """A thread hangs, so this process must not go on; nothing can be closed in order."""

    def __init__(self, hang: Hang) -> None:
        super().__init__("internal-error", str(hang))
        self.hang = hang


class Watchdog:
    """`start`, then `stop`. `watched` is asked each tick, since threads come and go.

    `ends` is called once with what cannot be helped, after it was said; it may end the process.
    """

    def __init__(
        self,
        name: str,
        watched: Callable[[], list[Watched]],
        ends: Callable[[Hang], None] = lambda _: None,
    ) -> None:
        self._watched = watched
        self._ends = ends
        self._stop = threading.Event()
        self._silent: dict[threading.Thread, tuple[lives.Sign | None, float]] = {}
        self._thread = threading.Thread(target=self._run, name=f"{name}: watchdog", daemon=True)
        self.hanging: frozenset[threading.Thread] = frozenset()  # that somebody mends
        self.found: Hang | None = None

    def start(self) -> None:
        """Watch from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more; does not wait."""
        self._stop.set()

    def _run(self) -> None:
        last_s = time.monotonic()
        while not self._stop.wait(limits.WATCHDOG_TICK_S):
            now_s = time.monotonic()
            # A process that was stopped, or had no processor, hangs in none of its threads.
            try:
                self.look(min(now_s - last_s, 2 * limits.WATCHDOG_TICK_S))
            except Exception:  # noqa: BLE001 - threads come and go while they are listed
                _log.exception("the watchdog failed and goes on")
            last_s = now_s
            if self.found is not None:
                return

    def look(self, passed_s: float) -> None:
        """One look, so many seconds after the one before."""
        silent: dict[threading.Thread, tuple[lives.Sign | None, float]] = {}
        hanging = []
        for one in self._watched():
            sign = lives.sign_of(one.thread)
            known = self._silent.get(one.thread)
            rests = sign is not None and sign.resting
            silent_s = 0.0
            if known is not None and known[0] == sign and not rests:
                silent_s = known[1] + passed_s
            silent[one.thread] = (sign, silent_s)
            if silent_s < one.most_s or not one.thread.is_alive():
                continue
            if not one.mended:
                self.give_up(one.thread, silent_s)
                return
            hanging.append(one.thread)
        self._silent, self.hanging = silent, frozenset(hanging)

    def give_up(self, thread: threading.Thread, silent_s: float) -> None:
        """Say that this one cannot be helped, and have the process ended."""
        since = datetime.fromtimestamp(time.time() - silent_s, tz=timezone.utc)
        hang = Hang(thread.name, silent_s, since.isoformat(timespec="seconds"), stack_of(thread))
        # Where nobody reads what we say, to say it waits for ever, and may be what hangs.
        said = threading.Thread(target=_say, args=(hang,), daemon=True)
        with contextlib.suppress(RuntimeError):  # the system has no more threads
            said.start()
            said.join(limits.LAST_WORD_S_MAX)
        self.found = hang
        self._ends(hang)


def _say(hang: Hang) -> None:
    _log.critical(
        "a thread hangs; the process must end and be started again",
        thread=hang.thread,
        silent_s=round(hang.silent_s, 1),
        since=hang.since,
        stack=hang.stack,
    )


def stack_of(thread: threading.Thread) -> str:
    """Where a thread stands: files, lines and functions, innermost first, on one line."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - the one way to see it
    if frame is None:
        return "it has ended"
    found = traceback.StackSummary.extract(
        traceback.walk_stack(frame), limit=limits.STACK_FRAMES_MAX, lookup_lines=False
    )
    return " < ".join(f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in found)
