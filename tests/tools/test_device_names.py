"""The device's library has fewer names, and does the same."""

from tallystick.tools.device_names import SHARED_WORDS, WORDS, fewer_names

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
    assert any(f"def {word}(" in found["lib/one.py"] for word in WORDS)
    # A large number stays one object, under the short name that it has in its module.
    assert "1 << 40" in found["lib/one.py"]


def test_what_several_modules_ask_for_has_one_name_in_all() -> None:
    found = slimmed()
    for name in ("_seen_outside", "_kept_apart", "_inner", "_method", "_own"):
        assert not any(name in source for source in found.values())
    (seen,) = [word for word in SHARED_WORDS if f"append.{word}" in found["lib/two.py"]]
    assert f"self.{seen} = 2" in found["lib/one.py"]
    (inner,) = [word for word in SHARED_WORDS if f"two.{word}(3)" in found["lib/three.py"]]
    assert f"def {inner}(" in found["lib/two.py"]
    (method,) = [word for word in SHARED_WORDS if f"self.{word}() + 1" in found["lib/three.py"]]
    assert f"def {method}(self)" in found["lib/two.py"]


def test_public_names_and_those_that_programs_ask_for_stay() -> None:
    found = slimmed()
    assert "def helper" in found["lib/two.py"]
    assert "def outer" in found["lib/one.py"]
    assert "EDDSA" in found["lib/two.py"]
    kept = fewer_names({"lib/a.py": "_orders = {}\n", "lib/b.py": "import a\nx = a._orders\n"})
    assert "_orders" in kept["lib/a.py"] and "_orders" in kept["lib/b.py"]


def test_a_name_of_another_module_is_not_its_own() -> None:
    modules = {"lib/a.py": "LIMIT = -5\n", "lib/b.py": "from lib import a\nLIMIT = a.LIMIT\n"}
    found = fewer_names({**modules, "lib/c.py": "from lib.b import LIMIT\nx = LIMIT\n"})
    assert "LIMIT = -5" in found["lib/a.py"]
    assert "LIMIT = a.LIMIT" in found["lib/b.py"]


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
