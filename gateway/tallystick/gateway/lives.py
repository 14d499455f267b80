"""Signs of life that threads leave: who moves, and who waits for something that may take its time.

Nobody is asked and nobody waits: a thread notes that it looked at the event that would stop it,
which each does in every turn. The watchdog (watchdog.py) reads the notes.
"""

import threading
from typing import NamedTuple


class Sign(NamedTuple):
    """What a thread left last."""

    turns: int
    resting: bool


# By a thread's number. One entry each, written by that thread alone.
_signs: dict[int, Sign] = {}


def moved() -> None:
    """The thread that calls it lives."""
    _leave(resting=False)


def sign_of(thread: threading.Thread) -> Sign | None:
    """The newest sign of a thread; None where it has left none."""
    return _signs.get(thread.ident or 0)


def _leave(*, resting: bool) -> None:
    number = threading.get_ident()
    last = _signs.get(number)
    _signs[number] = Sign(0 if last is None else last.turns + 1, resting)


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
