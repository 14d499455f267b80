"""Ctrl-C and SIGTERM: as an event for services, and held back where they would lose a process."""

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold a SIGINT back until the block ends.

    Between the fork and the assignment of its process a KeyboardInterrupt would lose it. Other
    threads than the main one are never interrupted, so nothing is done there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    # A handler of Python is not inherited over exec: the child starts with the default one.
    before = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


def set_soon(event: threading.Event) -> None:
    """Set an event from a signal's handler.

    The handler runs in the main thread, which may hold the event's own lock: it is waiting for it.
    To set it there would wait for that lock for ever, once in some thousand ends of a service.
    """
    # Not by a Thread, whose start takes locks that the main thread may hold as well.
    _thread.start_new_thread(event.set, ())


def until_signalled() -> threading.Event:
    """An event that Ctrl-C or SIGTERM sets, for a service that ends by itself."""
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        set_soon(stop)

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    return stop


def on_hangup() -> threading.Event:
    """An event that SIGHUP sets each time: read the configuration again."""
    reload = threading.Event()
    signal.signal(signal.SIGHUP, lambda _number, _frame: set_soon(reload))
    return reload
