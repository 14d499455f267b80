"""What a device gets is the same program, smaller."""

import pytest

from tallystick.tools import device_library, device_source
from tallystick.tools._cache import ToolMissing

KNOWN = {"tallystick.evidence.limits": {"SIZE_MAX": 7}, "tallystick.evidence.kinds": {"HELLO": 15}}
SOURCE = '''
"""Docstring."""
from tallystick.evidence import kinds, leaf
from tallystick.evidence.errors import Malformed
from tallystick.evidence.limits import SIZE_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Thing:
    """Docstring."""

    size: int


def check(size: "Any", *, most: int = SIZE_MAX) -> int:
    """Docstring."""
    found: int = kinds.HELLO
    if size > most:
        raise Malformed("too-large", "longer than %d" % most)
    return found
'''
SLIM = '''
"""Docstring."""
from tallystick.evidence import leaf
from tallystick.evidence.errors import Malformed


class Thing:
    pass


def check(size, *, most=7):
    found = 15
    if size > most:
        raise Malformed("too-large", "")
    return found
'''


def test_what_only_people_and_tools_read_is_left_out() -> None:
    slim = device_source.slim(SOURCE, KNOWN)
    assert slim == device_source.slim(SLIM, {})
    assert "Any" not in slim and "longer" not in slim


def test_numbers_are_read_from_the_modules_themselves() -> None:
    assert device_source.constants("A = 1\nB = 'no'\nC = -1\n") == {"A": 1}
    library = device_library.sources()
    slim = device_source.slim_all({place: path.read_bytes() for place, path in library.items()})
    assert list(slim) == list(library)
    assert b"statement.parse(append, 4, " in slim["tallystick/evidence/checkpoint.py"]
    assert not any(b"evidence.kinds" in source for source in slim.values())


def test_a_module_that_is_no_python_is_named() -> None:
    with pytest.raises(ToolMissing, match=r"tallystick/evidence/broken\.py"):
        device_source.slim_all({"tallystick/evidence/broken.py": b"def ("})


@pytest.mark.parametrize("board", [False, True])
def test_coroutines_stay_coroutines_when_there_are_words_for_all_names(board: bool) -> None:
    source = b"class AsyncRecorder:\n    async def open(self):\n        return await self\n"
    slim = device_source.slim_all({"tallystick/recorder/aio.py": source}, board=board)
    assert slim["tallystick/recorder/aio.py"].count(b"    async def open(self)") == 1
    assert b"@" not in slim["tallystick/recorder/aio.py"]
