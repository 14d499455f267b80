"""The device tests on every interpreter that is not CPython.

A file of tests/device holds plain functions `test_*` with `assert`. CPython runs it as an ordinary
test file (tests/conftest.py leaves out what is not for it). Here it is compiled, beside the
compiled library, and run on MicroPython, one process a file: 64 bits; 32 bits in a 64 KiB heap; and
the newest and the oldest MicroPython, from source, as WebAssembly. A file that 64 KiB do not hold
is two files.
A file with functions `boot_*` is several boots of one device: a process for each, and one folder
(tests/device/_boots.py).
"""

import ast
import re
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tallystick.tools import device_library
from tallystick.tools.micropython import MicroPython

DEVICE_TESTS = Path(__file__).parent.parent / "device"
RUNTIMES = ("cpython", "micropython64", "micropython32", "newest", "oldest")
HEAP_32 = "64k"
HEAP_32_BYTES = 65536
FILE_TIMEOUT_S = 240
_RESULT = re.compile(r"^#RESULT (\w+) (ok|failed) (-?\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """What one test function did on one interpreter."""

    name: str
    ok: bool
    heap_free_bytes: int
    said: str


class DeviceTest:
    """One file of device tests, read without running it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.stem
        tree = ast.parse(path.read_text(), str(path))
        self.functions = _functions(tree, "test_")
        self.boots = _functions(tree, "boot_")
        self.helpers = _helpers(tree)
        # What opens a recorder runs on 32 bits with the library as a board gets it.
        self.opens = any(_opens(ast.parse(file.read_text())) for file in self.files())
        constants = _constants(tree)
        self.runs_on = constants.get("RUNS_ON") or RUNTIMES
        self.reason = constants.get("RUNS_ON_BECAUSE")
        unknown = set(self.runs_on) - set(RUNTIMES)
        if unknown:
            message = f"{path}: RUNS_ON names {sorted(unknown)}; known are {RUNTIMES}"
            raise ValueError(message)
        if set(self.runs_on) < set(RUNTIMES) and not self.reason:
            message = f"{path}: RUNS_ON leaves runtimes out, so RUNS_ON_BECAUSE must say why"
            raise ValueError(message)

    def files(self) -> list[Path]:
        """The test and the helpers that it imports."""
        return [self.path, *(DEVICE_TESTS / f"{name}.py" for name in self.helpers)]


@cache
def device_test(path: Path) -> DeviceTest:
    """One of tests/device, read once."""
    return DeviceTest(path)


def all_tests() -> list[DeviceTest]:
    """Every file of tests/device, by name."""
    return [device_test(path) for path in sorted(DEVICE_TESTS.glob("test_*.py"))]


def helper_files() -> list[Path]:
    """What the tests import beside the library: all modules of tests/device that are no tests."""
    others = [path for path in DEVICE_TESTS.glob("*.py") if not path.name.startswith("test_")]
    return sorted(others)


def board_library(tests: list[DeviceTest]) -> Path:
    """The library as a board gets it, with what those of these tests use that open a recorder."""
    users = {file for test in tests if test.opens for file in test.files()}
    return device_library.device_library(board=True, programs=sorted(users))


def run_on_micropython(
    test: DeviceTest, interpreter: MicroPython, library: Path, heap: str | None = None
) -> list[Outcome]:
    """All functions of `test` in one process and heap, or each boot in its own, in their order."""
    modules = {path.name: path for path in [test.path, *helper_files()]}
    compiled = device_library.compiled(f"device-test-{test.name}", modules)
    with tempfile.TemporaryDirectory(prefix="tally-device.") as temporary:
        folder = Path(temporary)
        # As on a board: /lib. MicroPython keeps each module's path in its heap.
        (folder / "lib").symlink_to(library)
        (folder / "test").symlink_to(compiled)
        (folder / "device").mkdir()
        outcomes = []
        for names in [[boot] for boot in test.boots] or [test.functions]:
            said = _said(test, names, interpreter, folder, heap)
            outcomes += read_outcomes(names, said)
    return outcomes


def _said(
    test: DeviceTest, names: list[str], interpreter: MicroPython, folder: Path, heap: str | None
) -> str:
    try:
        done = interpreter.run(
            "-m",
            "_run",
            test.name,
            *names,
            heap=heap,
            path=[Path("test"), Path("lib")],
            cwd=folder,
            timeout_s=FILE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        return f"{_text(error.stdout)}\nno end within {FILE_TIMEOUT_S} s"
    return f"{done.stdout}\n{done.stderr}"


def read_outcomes(names: list[str], said: str) -> list[Outcome]:
    """One outcome for each of `names`; a function without its line has failed."""
    found: dict[str, Outcome] = {}
    begin = 0
    for line in _RESULT.finditer(said):
        name, word, free = line.groups()
        found[name] = Outcome(name, word == "ok", int(free), said[begin : line.start()].strip())
        begin = line.end()
    rest = said[begin:].strip() or "the interpreter ended without a word"
    return [
        found.get(name, Outcome(name, ok=False, heap_free_bytes=-1, said=rest)) for name in names
    ]


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def _functions(tree: ast.Module, prefix: str) -> list[str]:
    found = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [name for name in found if name.startswith(prefix)]


def _helpers(tree: ast.Module) -> list[str]:
    """The helpers that a file imports, and what these import."""
    found: dict[str, None] = {}
    waiting = [tree]
    while waiting:
        for node in ast.walk(waiting.pop()):
            name = getattr(node, "module", None) or ""
            if not name.startswith("_") or name in found:
                continue
            helper = DEVICE_TESTS / f"{name}.py"
            if helper.is_file():
                found[name] = None
                waiting.append(ast.parse(helper.read_text()))
    return sorted(found)


def _opens(tree: ast.Module) -> bool:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return any(alias.name == "Recorder" for node in found for alias in node.names)


def _constants(tree: ast.Module) -> dict[str, tuple[Any, ...]]:
    found: dict[str, tuple[Any, ...]] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name.startswith("RUNS_ON"):
                value = ast.literal_eval(node.value)
                found[name] = value if isinstance(value, tuple) else (value,)
    return found
