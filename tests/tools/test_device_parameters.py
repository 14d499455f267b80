"""A device's library calls what is given by position by names that MicroPython has anyway."""

import ast

from tallystick.tools.device_parameters import short_parameters

SOURCE = """
def one(first, second, third=3):
    return first + second * third
def two(first, word):
    return first - word
class Public:
    def __init__(self, size):
        self.size = size
    def grown(self, by):
        return self.size + by
class _Private:
    def __init__(self, width):
        self.size = width
class Recorder:
    def claim(self, role):
        return role
def many(first, **fields):
    return first, fields
def nested(outer, shared):
    shadow = outer
    def within(shared, inner):
        return [outer for outer in (shared, inner, shadow)]
    return within(1, 2), outer, shared
def taken(append, clear, more):
    return append, clear, more
result = (one(1, 2), two(1, word=5), Public(size=3).grown(4), _Private(7).size)
result += (Recorder().claim(role="giver"), many(1, x=2), nested(8, 9), taken(1, 2, 3))
"""


def shortened() -> str:
    tree = ast.parse(SOURCE)
    short_parameters([tree])
    return ast.unparse(tree)


def test_it_does_the_same() -> None:
    before: dict[str, object] = {}
    after: dict[str, object] = {}
    exec(SOURCE, before)
    exec(shortened(), after)
    assert before["result"] == after["result"]


def test_what_is_given_by_position_has_a_short_name() -> None:
    found = shortened()
    assert "def one(append, clear, close=3):" in found
    assert "def grown(self, append):" in found
    assert "def __init__(self, append):" in found  # of the private class


def test_what_is_given_by_name_keeps_it() -> None:
    found = shortened()
    assert "def two(append, word):" in found
    assert "def __init__(self, size):" in found
    assert "def claim(self, role):" in found
    assert "def many(first, **fields):" in found
