"""The end of a gateway's process in which something hangs: at once, whatever its threads do."""

import contextlib
import faulthandler
import os
import sys
import time
from collections.abc import Callable, Iterator

from tallystick.gateway import limits
from tallystick.gateway.watchdog import EXIT_CODE, Hang

# Of STANDSTILL_S_MAX: to arm it starts a thread, which is not for every second.
_PER_STANDSTILL = 20


def end_at_once(_hang: Hang) -> None:
    """End the process; it was said why. An end in order would wait for what hangs."""
    os._exit(EXIT_CODE)


def begin_again(_hang: Hang) -> None:
    """Start the same command line in place of this process; what hangs goes with it."""
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - no shell


@contextlib.contextmanager
def standstill_ends() -> Iterator[Callable[[], None]]:
    """End the process, with all stacks and exit code 1, when what it gives is not called for long.

    A call into a library that never returns and keeps Python's lock stops every thread, the
    watchdog's too. So this clock runs in none of Python's: faulthandler's own does it.
    """
    armed_s = float("-inf")

    def turns() -> None:
        nonlocal armed_s
        now_s = time.monotonic()
        if now_s - armed_s >= limits.STANDSTILL_S_MAX / _PER_STANDSTILL:
            armed_s = now_s
            faulthandler.dump_traceback_later(limits.STANDSTILL_S_MAX, exit=True)

    try:
        yield turns
    finally:
        faulthandler.cancel_dump_traceback_later()
