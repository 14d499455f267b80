"""Who asked the one writer for something may be gone before it is done."""

import threading
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from support.devices import Fleet
from support.validating import Room
from tallystick.validator.problem import Problem

WAIT_S = 60


def test_a_request_that_was_cancelled_is_not_done_and_stops_nobody(room: Room) -> None:
    room.sequencer.start()
    begun, going = threading.Event(), threading.Event()
    done: list[str] = []

    def slow() -> None:
        begun.set()
        assert going.wait(WAIT_S)

    first = room.sequencer.hand_in("test", slow)
    assert begun.wait(WAIT_S)
    gone = room.sequencer.hand_in("test", lambda: done.append("gone"))
    assert gone.cancel()
    going.set()
    first.result(WAIT_S)
    room.sequencer.hand_in("test", lambda: done.append("here")).result(WAIT_S)
    assert done == ["here"]
    with pytest.raises(CancelledError):
        gone.result(0)


def test_who_waits_when_the_validator_stops_is_told_unless_gone(
    tmp_path: Path, fleet: Fleet
) -> None:
    room = Room(tmp_path / "validator", [fleet])
    # Its thread has not begun, so both wait until the end.
    gone = room.sequencer.hand_in("test", lambda: None)
    waiting = room.sequencer.hand_in("test", lambda: None)
    assert gone.cancel()
    room.close()
    with pytest.raises(Problem, match="stopping"):
        waiting.result(0)
