"""Every device test on every MicroPython that it is for (CPython runs tests/device by itself)."""

from pathlib import Path

import pytest

from support import webassembly
from support.device_suite import (
    HEAP_32,
    HEAP_32_BYTES,
    DeviceTest,
    Outcome,
    all_tests,
    read_outcomes,
    run_on_micropython,
)
from tallystick.tools._cache import ToolMissing
from tallystick.tools.micropython import MicroPython

TESTS = all_tests()


def on(runtime: str) -> pytest.MarkDecorator:
    chosen = [test for test in TESTS if runtime in test.runs_on]
    return pytest.mark.parametrize("test", chosen, ids=[test.name for test in chosen])


def check(outcomes: list[Outcome]) -> None:
    assert outcomes, "the file has no test functions"
    failed = [f"{one.name}\n{one.said}" for one in outcomes if not one.ok]
    if failed:
        pytest.fail(f"{len(failed)} of {len(outcomes)} failed\n\n" + "\n\n".join(failed), False)


@pytest.fixture(scope="module")
def browser() -> webassembly.WebAssembly:
    try:
        return webassembly.find()
    except ToolMissing as error:
        pytest.skip(str(error))


@on("micropython64")
def test_on_micropython64(
    test: DeviceTest, micropython64: MicroPython, device_library: Path
) -> None:
    check(run_on_micropython(test, micropython64, device_library))


@on("micropython32")
def test_on_micropython32_in_a_small_heap(
    test: DeviceTest, micropython32: MicroPython, device_library: Path
) -> None:
    outcomes = run_on_micropython(test, micropython32, device_library, heap=HEAP_32)
    check(outcomes)
    assert all(0 < one.heap_free_bytes < HEAP_32_BYTES for one in outcomes)


@on("webassembly")
def test_on_newest_micropython(test: DeviceTest, browser: webassembly.WebAssembly) -> None:
    version, outcomes = webassembly.run(test, browser)
    assert version >= (1, 29)
    check(outcomes)


def test_interpreter_widths(micropython64: MicroPython, micropython32: MicroPython) -> None:
    assert (micropython64.bits, micropython32.bits) == (64, 32)


def test_a_function_without_its_line_has_failed() -> None:
    said = "#RESULT test_a ok 100\nTraceback: out of memory\n"
    assert read_outcomes(["test_a", "test_b"], said) == [
        Outcome("test_a", ok=True, heap_free_bytes=100, said=""),
        Outcome("test_b", ok=False, heap_free_bytes=-1, said="Traceback: out of memory"),
    ]


FAULTY = """
def test_good():
    pass

def test_wrong():
    assert 1 == 2, "one is not two"

def test_too_big():
    return bytearray(80000)
"""


def test_failures_on_a_device_are_seen(
    tmp_path: Path, micropython32: MicroPython, device_library: Path
) -> None:
    path = tmp_path / "test_faulty.py"
    path.write_text(FAULTY)
    outcomes = run_on_micropython(DeviceTest(path), micropython32, device_library, heap=HEAP_32)
    good, wrong, too_big = outcomes
    assert good.ok
    assert not wrong.ok
    assert "one is not two" in wrong.said
    assert not too_big.ok
    assert "MemoryError" in too_big.said


BOOTS = """
import sys

STATE = []

def boot_first(path):
    STATE.append(1)
    with open(path + "/kept", "w") as file:
        file.write("first")

def boot_again(path):
    assert not STATE, "one process"
    with open(path + "/kept") as file:
        assert file.read() == "first"

def boot_wrong(path):
    assert False, "wrong"

def test_boots():
    assert False, "CPython's"
"""


def test_boots_are_processes_of_one_device(
    tmp_path: Path, micropython32: MicroPython, device_library: Path
) -> None:
    path = tmp_path / "test_boots.py"
    path.write_text(BOOTS)
    outcomes = run_on_micropython(DeviceTest(path), micropython32, device_library, heap=HEAP_32)
    assert [(one.name, one.ok) for one in outcomes] == [
        ("boot_first", True),
        ("boot_again", True),
        ("boot_wrong", False),
    ]


def test_a_restriction_needs_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "test_some.py"
    path.write_text('RUNS_ON = ("cpython", "micropython64")\n')
    with pytest.raises(ValueError, match="RUNS_ON_BECAUSE"):
        DeviceTest(path)
    path.write_text('RUNS_ON = ("cpython",)\nRUNS_ON_BECAUSE = "needs a thread"\n')
    assert DeviceTest(path).runs_on == ("cpython",)
    path.write_text('RUNS_ON = ("pypy",)\n')
    with pytest.raises(ValueError, match="pypy"):
        DeviceTest(path)


def test_recorder_tests_stay_out_of_the_browser(tmp_path: Path) -> None:
    path = tmp_path / "test_some.py"
    path.write_text("from tallystick.recorder import journal\n")
    assert "webassembly" not in DeviceTest(path).runs_on
    path.write_text("from tallystick.evidence import cbor\n")
    assert "webassembly" in DeviceTest(path).runs_on
