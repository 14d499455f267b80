"""A board's library: nothing but what a recorder's program asks for, under words of the ROM."""

import subprocess
import sys
from pathlib import Path

import pytest

from tallystick.tools.device_lean import lean

TWO = """
LIMIT_MAX = 100
TABLE = {"a": 1}
UNUSED = (1, 2)
SLEEP = b"s"
def unused():
    return only_of_the_unused()
def only_of_the_unused():
    return 1
def helper(value):
    return value * 2
class Base:
    shared = 3
    def method_of_base(self):
        return self.shared
class Failed(Exception):
    def __init__(self, status):
        self.status_kept = status
"""
ONE = """
from tallystick.recorder import two
from tallystick.recorder.two import SLEEP, Base, Failed, helper
class Child(Base):
    def method_of_child(self):
        return self.method_of_base() + helper(1)
    def sleeping(self, then=SLEEP):
        return then
class Other:
    def __init__(self, amount):
        self.amount = amount
        self.named_in_text = 5
    def doubled(self):
        return helper(self.amount)
    def unused_method(self):
        return two.only_of_the_unused()
def fails():
    try:
        raise Failed(7)
    except Failed as amount:
        return amount.status_kept
def shadowed(helper):
    return helper + 1
def outer():
    total = 0
    def inner():
        nonlocal total
        total += 1
    inner()
    return total
def streams(file):
    file.somebody_elses = 1
    return file.readline()
"""
PROGRAM = """
from tallystick.recorder import one, two
class Recorder:
    def decision(self, model, inputs=None):
        thing = one.Other(4)
        return [
            one.Child().method_of_child(),
            one.Child().sleeping(),
            thing.doubled(),
            getattr(thing, "named_in_text"),
            one.fails(),
            one.shadowed(1),
            one.outer(),
            two.TABLE["a"] + two.LIMIT_MAX,
            len(self._private()),
        ]
    def _private(self):
        class Stream:
            def readline(self):
                return b"abc"
        return one.streams(Stream())
"""
PLACE = "tallystick/recorder/"


@pytest.fixture
def board() -> dict[str, str]:
    given = {"one": ONE, "two": TWO, "program": PROGRAM}
    return lean({f"{PLACE}{name}.py": text for name, text in given.items()})


def test_it_does_the_same(board: dict[str, str], tmp_path: Path) -> None:
    for name, text in board.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from tallystick.recorder.program import Recorder\n"
        "print(Recorder().decision(model='m@1'))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[5, b's', 8, 5, 7, 2, 1, 101, 3]", done.stderr


def test_what_nobody_asks_for_is_left_out(board: dict[str, str]) -> None:
    two = board[f"{PLACE}two.py"]
    assert two.count("def ") == 3
    assert "(1, 2)" not in two


def test_the_interface_keeps_its_names(board: dict[str, str]) -> None:
    program = board[f"{PLACE}program.py"]
    assert "class Recorder" in program
    assert "def decision(self, model, inputs=None)" in program


def test_what_others_give_and_what_text_names_stay(board: dict[str, str]) -> None:
    one = board[f"{PLACE}one.py"]
    assert "named_in_text" in one
    assert "somebody_elses" in one and "readline" in one


def test_other_names_are_gone(board: dict[str, str]) -> None:
    everything = "".join(board.values())
    for name in (
        *("helper", "method_of_base", "method_of_child", "doubled", "status_kept"),
        *("self.amount", "Child", "Failed", "SLEEP", "TABLE", "LIMIT_MAX", "unused"),
    ):
        assert name not in everything
