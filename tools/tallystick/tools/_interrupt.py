"""Ctrl-C and SIGTERM: as an event for services, and held back where they would lose a process."""

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


def until_signalled() -> threading.Event:
    """An event that Ctrl-C or SIGTERM sets, for a service that ends by itself."""
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    return stop


def on_hangup() -> threading.Event:
    """An event that SIGHUP sets each time: read the configuration again."""
    reload = threading.Event()
    signal.signal(signal.SIGHUP, lambda _number, _frame: reload.set())
    return reload
