"""A device's library has MicroPython's branches only."""

import ast

import pytest

from tallystick.tools.device_branches import only_micropython

HEAD = 'import sys\n_MICROPYTHON = sys.implementation.name == "micropython"\n'


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        (HEAD + "x = 1 if _MICROPYTHON else 2", "x = 1"),
        (HEAD + "x = 1 if not _MICROPYTHON else 2", "x = 2"),
        (HEAD + "if not _MICROPYTHON:\n    import threading\nelse:\n    x = 1", "x = 1"),
        (HEAD + "if not _MICROPYTHON and y:\n    x = 1\nx = 2", "x = 2"),
        (HEAD + "if _MICROPYTHON and y:\n    x = 1", "if y:\n    x = 1"),
        (HEAD + "if _MICROPYTHON or y:\n    x = 1", "x = 1"),
        (HEAD + "if y and z or not _MICROPYTHON:\n    x = 1", "if y and z:\n    x = 1"),
        (
            HEAD + "def f():\n    if _MICROPYTHON:\n        return 1\n    return 2",
            "def f():\n    return 1",
        ),
        (
            HEAD + "def f():\n    if not _MICROPYTHON:\n        g()",
            "def f():\n    pass",
        ),
        # A generator stays one, though what makes it one is never reached.
        (
            HEAD + "def f():\n    if _MICROPYTHON:\n        return\n    yield",
            "def f():\n    return\n    yield",
        ),
        ("from a import MICROPYTHON, b\nx = b", "from a import b\nx = b"),
        ('import sys\nx = 2 if sys.implementation.name == "micropython" else 9', "x = 2"),
        (HEAD + "x = sys.path", "import sys\nx = sys.path"),
        ("if y:\n    x = True", "if y:\n    x = True"),
    ],
)
def test_the_branch_that_is_known(source: str, wanted: str) -> None:
    assert ast.unparse(only_micropython(ast.parse(source))) == wanted
