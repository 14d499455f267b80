"""No result depends on the precision of a board's floats (most boards have 32 bits)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from support.device_suite import DeviceTest, all_tests, helper_files, read_outcomes
from support.single import HELPER, WHOLE, rounded, single
from tallystick.tools import device_library
from tallystick.tools.micropython import MicroPython

SOURCES = device_library.sources()
# Where a device's code has a float of its own, and why no result depends on it.
FLOATS = {
    "evidence/decisionwriter.py": "asks whether it was given one",
    "evidence/number.py": "rounds what it was given, by formatting; a bound of range",
    "evidence/valuewriter.py": "asks whether it was given one",
    "recorder/config.py": "seconds of the settings, and their least values",
    "recorder/deciding.py": "asks whether it was given one",
}
# What values, records and the recorder's clocks and settings go through.
CONCERNED = (
    *("cbor", "checkpoint", "claim", "decides", "decision", "half", "number", "profile"),
    *("record", "recorder_core", "recorder_journal", "recorder_open", "recorder_urgent"),
    *("recorder_counter", "segment", "value", "verdict"),
)


class _Awake(ast.NodeTransformer):
    """Without what a program only sleeps for."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        if ast.unparse(node.func).split(".")[-1] == "sleep":
            return ast.Call(node.func, [], [])
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.stmt:
        # A constant of seconds, by its unit.
        seconds = ast.unparse(node.targets[0]).endswith("_S")
        return ast.Pass() if seconds else self.visit_own(node)

    def visit_own(self, node: ast.Assign) -> ast.stmt:
        self.generic_visit(node)
        return node


def floats(source: str) -> bool:
    """Whether there is a float, a division that makes one, or the name of the type."""
    # Annotations are gone then too.
    tree = _Awake().visit(ast.parse(single(source)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and type(node.value) in (float, complex):
            return True
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            return True
        if isinstance(node, ast.Name) and node.id in ("float", "round"):
            return True
        if isinstance(node, ast.Import) and any(alias.name == "math" for alias in node.names):
            return True
        if isinstance(node, ast.ImportFrom) and node.module == "math":
            return True
    return False


def test_floats_are_in_few_places_each_with_its_reason() -> None:
    names = {place.removeprefix("tallystick/"): path for place, path in SOURCES.items()}
    found = {name for name, path in names.items() if floats(path.read_text())}
    assert found == set(FLOATS), "say in FLOATS why no result depends on this float"
    assert not {name for name in FLOATS if name.endswith(WHOLE)}


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library and the device tests as a board with single precision computes."""
    folder = tmp_path_factory.mktemp("single")
    (folder / "_single.py").write_text(HELPER)
    tests = [Path(test.path) for test in chosen()]
    modules = {**SOURCES, **{path.name: path for path in [*tests, *helper_files()]}}
    for place, path in modules.items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text()
        target.write_text(text if path.name in WHOLE else single(text))
    return folder


def chosen() -> list[DeviceTest]:
    found = [test for test in all_tests() if test.name.removeprefix("test_") in CONCERNED]
    assert len(found) == len(CONCERNED)
    return found


@pytest.mark.parametrize("test", chosen(), ids=lambda test: test.name)
def test_the_suite_gives_the_same_with_floats_of_32_bits(
    test: DeviceTest, board: Path, micropython64: MicroPython
) -> None:
    done = micropython64.run("-m", "_run", test.name, *test.functions, path=[board], cwd=board)
    outcomes = read_outcomes(test.functions, done.stdout + done.stderr)
    failed = [f"{one.name}\n{one.said}" for one in outcomes if not one.ok]
    assert not failed, "\n\n".join(failed)


# The bytes themselves. Every float here has at most seven digits, which 32 bits hold.
RECORDS = """
from binascii import hexlify
from tallystick.evidence.decisionwriter import encode_decision
from tallystick.evidence.eventwriter import encode_event
numbers = [0.1, 0.5, 1.5, -0.25, 0.000001, 3.14159, 1234.5, -7.25, 100.0, 0.3333333, 65504.0, 0.0]
for n in numbers:
    for limit in ("0.1", 0.1, "0.1000001", (1, -1), 0.25, 7):
        record = encode_decision(7, "m@1", {"n": n}, {"n": (n, "<=", limit)}, {"x": [n]}, n)
        print(hexlify(record).decode())
    print(hexlify(encode_event(7, "a.b", {"n": n}, 3)).decode())
"""
SETTINGS = """
from binascii import hexlify
from tallystick.recorder.config import check
for seconds in (0.1, 2.5, 0.333, 10, 1.1, 30.0):
    given = {"fleet": "a", "key": "file:k", "journal": "j", "resend_s": seconds, "wait_s": 0.7}
    print(hexlify(check(given, "", "")["digest"]).decode())
"""


def test_the_digest_of_settings_is_the_same_with_floats_of_either_size(
    board: Path, tmp_path: Path, micropython64: MicroPython, device_library: Path
) -> None:
    # Defaults differ between a board and a PC, so both are MicroPython.
    (tmp_path / "double.py").write_text(SETTINGS)
    (tmp_path / "narrow.py").write_text(single(SETTINGS))
    double = micropython64.run(str(tmp_path / "double.py"), path=[device_library])
    narrow = micropython64.run(str(tmp_path / "narrow.py"), path=[board])
    assert narrow.stdout == double.stdout != "", narrow.stderr + double.stderr
    assert len(set(narrow.stdout.split())) == 6


def test_records_are_the_same_bytes_with_floats_of_either_size(
    board: Path, tmp_path: Path, micropython64: MicroPython
) -> None:
    (tmp_path / "double.py").write_text(RECORDS)
    (tmp_path / "narrow.py").write_text(single(RECORDS))
    plain = subprocess.run(
        [sys.executable, str(tmp_path / "double.py")], capture_output=True, text=True, check=True
    )
    narrow = micropython64.run(str(tmp_path / "narrow.py"), path=[board])
    assert narrow.stdout == plain.stdout != "", narrow.stderr
    # What the stand-in does, so that the comparison is one.
    assert "0.10000000149011612" in (tmp_path / "narrow.py").read_text()
    assert rounded(0.1) != 0.1 and rounded(1e39) == float("inf")
