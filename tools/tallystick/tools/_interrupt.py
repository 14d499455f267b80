"""Ctrl-C at a better moment: where a started process is not yet known to who must end it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


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
