"""The device's library has fewer names, and does the same."""

from tallystick.tools.device_names import fewer_names

ONE = """
from lib.two import SIZE_MAX, helper
from lib import two
LOCAL = 2 * 8
_TABLE = (1, 2)
BIG = 1 << 40
def _plus(x):
    return x + LOCAL + SIZE_MAX + two.STEP
def outer(x):
    return _plus(x) + _TABLE[0] + helper(x) + BIG
class Thing:
    def __init__(self):
        self._kept_apart = 1
        self._seen_outside = 2
    def _private(self):
        return self._kept_apart
    def public(self):
        return self._private()
"""
TWO = """
SIZE_MAX = 100
STEP = 5
EDDSA = -8 + 0
_KEY = "a table's name"
class Base:
    def _method(self):
        return 1
def _inner(x):
    return x * 2
def helper(x):
    return _inner(x)
def look(thing):
    return thing._seen_outside
"""
THREE = """
from lib.two import Base
from lib import two
def of_a_module():
    return two._inner(3)
class Child(Base):
    def _own(self):
        return self._method() + 1
def make():
    return Child()._own()
"""


def slimmed() -> dict[str, str]:
    return fewer_names({"lib/one.py": ONE, "lib/two.py": TWO, "lib/three.py": THREE})


def test_constants_are_numbers_and_private_names_are_shared() -> None:
    found = slimmed()
    assert "LOCAL" not in found["lib/one.py"]
    assert "SIZE_MAX" not in found["lib/one.py"] + found["lib/two.py"]
    assert "append + 16 + 100 + 5" in found["lib/one.py"]
    assert "_plus" not in found["lib/one.py"]
    assert "def _f" in found["lib/one.py"]
    # A large number stays one object, under the short name that it has in its module.
    assert "1 << 40" in found["lib/one.py"]


def test_what_others_ask_for_keeps_its_name() -> None:
    found = slimmed()
    assert "_seen_outside" in found["lib/one.py"]
    assert "_kept_apart" not in found["lib/one.py"]
    assert "def helper" in found["lib/two.py"]
    assert "def _inner" in found["lib/two.py"]
    assert "two._inner(3)" in found["lib/three.py"]
    assert "def outer" in found["lib/one.py"]


def test_lines_of_inheritance_keep_their_private_names() -> None:
    found = slimmed()
    assert "def _method" in found["lib/two.py"]
    assert "def _own" in found["lib/three.py"]


def test_the_result_does_the_same() -> None:
    found = slimmed()
    two: dict[str, object] = {}
    exec(found["lib/two.py"], two)
    source = found["lib/one.py"]
    one: dict[str, object] = {"two": None, "helper": two["helper"]}
    lines = [line for line in source.splitlines() if not line.startswith("from ")]
    exec("\n".join(lines), one)
    outer = one["outer"]
    assert callable(outer)
    assert outer(1) == 1 + 16 + 100 + 5 + 1 + 2 + (1 << 40)
    thing = one["Thing"]
    assert callable(thing)
    assert thing().public() == 1
