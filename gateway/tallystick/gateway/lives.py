"""Signs of life that threads leave: who moves, and who waits for something that may take its time.

Nobody is asked and nobody waits: a thread notes that it looked at the event that would stop it,
which each does in every turn. The watchdog (watchdog.py) reads the notes.
"""

import threading
from typing import NamedTuple
from weakref import WeakKeyDictionary


class Sign(NamedTuple):
    """What a thread left last."""

    turns: int
    resting: bool


# One entry for each thread that is there, written by that thread alone. Not by its number: another
# thread gets the number of one that ended, and would rest where that one did.
_signs: WeakKeyDictionary[threading.Thread, Sign] = WeakKeyDictionary()


def moved() -> None:
    """The thread that calls it lives."""
    _leave(resting=False)


def sign_of(thread: threading.Thread) -> Sign | None:
    """The newest sign of a thread; None where it has left none."""
    return _signs.get(thread)


def _leave(*, resting: bool) -> None:
    thread = threading.current_thread()
    last = _signs.get(thread)
    _signs[thread] = Sign(0 if last is None else last.turns + 1, resting)


class Event(threading.Event):
    """As threading's: who looks at it moves, and who waits for it rests."""

    def is_set(self) -> bool:
        """As threading's."""
        _leave(resting=False)
        return super().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """As threading's."""
        _leave(resting=True)
        try:
            return super().wait(timeout)
        finally:
            _leave(resting=False)
