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
    board_library,
    read_outcomes,
    run_on_micropython,
)
from tallystick.tools._cache import ToolMissing
from tallystick.tools.micropython import VERSION_MIN, MicroPython

TESTS = all_tests()


def on(runtime: str) -> pytest.MarkDecorator:
    chosen = [test for test in TESTS if runtime in test.runs_on]
    return pytest.mark.parametrize("test", chosen, ids=[test.name for test in chosen])


def check(outcomes: list[Outcome]) -> None:
    assert outcomes, "the file has no test functions"
    failed = [f"{one.name}\n{one.said}" for one in outcomes if not one.ok]
    if failed:
        pytest.fail(f"{len(failed)} of {len(outcomes)} failed\n\n" + "\n\n".join(failed), False)


@on("micropython64")
def test_on_micropython64(
    test: DeviceTest, micropython64: MicroPython, device_library: Path
) -> None:
    check(run_on_micropython(test, micropython64, device_library))


@on("micropython32")
def test_on_micropython32_in_a_small_heap(
    test: DeviceTest, micropython32: MicroPython, device_library: Path
) -> None:
    library = board_library(TESTS) if test.opens else device_library
    outcomes = run_on_micropython(test, micropython32, library, heap=HEAP_32)
    check(outcomes)
    assert all(0 < one.heap_free_bytes < HEAP_32_BYTES for one in outcomes)


@pytest.mark.parametrize(
    ("runtime", "build", "says"),
    [("newest", webassembly.NEWEST, (1, 29)), ("oldest", webassembly.OLDEST, VERSION_MIN)],
)
def test_evidence_and_recorder_on_the_newest_and_the_oldest_micropython(
    runtime: str, build: str, says: tuple[int, int]
) -> None:
    chosen = [test for test in TESTS if runtime in test.runs_on]
    try:
        interpreter = webassembly.find(build)
    except ToolMissing as error:
        pytest.skip(str(error))
    version, outcomes = webassembly.run_all(chosen, interpreter)
    assert version == says
    assert {"test_cbor", "test_recorder_journal"} <= {test.name for test in chosen}
    check([one for found in outcomes.values() for one in found])


def test_the_page_names_the_builds_that_are_tested() -> None:
    page = (Path(__file__).parent.parent / "docs/recorder.md").read_text()
    table = page.split("## Which MicroPython")[1].split("\n## ")[0]
    assert f"MicroPython {VERSION_MIN[0]}.{VERSION_MIN[1]} and newer" in table
    assert all(f"npm's {build}" in table for build in (webassembly.OLDEST, webassembly.NEWEST))


def test_what_a_browser_s_micropython_gets_wrong_is_seen(tmp_path: Path) -> None:
    (tmp_path / "test_faulty.py").write_text(FAULTY)
    (tmp_path / "test_broken.py").write_text("import nowhere\n\ndef test_never():\n    pass\n")
    try:
        interpreter = webassembly.find(webassembly.NEWEST)
    except ToolMissing as error:
        pytest.skip(str(error))
    tests = [DeviceTest(tmp_path / "test_broken.py"), DeviceTest(tmp_path / "test_faulty.py")]
    _, outcomes = webassembly.run_all(tests, interpreter)
    (never,) = outcomes["test_broken"]
    good, wrong, _ = outcomes["test_faulty"]
    assert not never.ok and "nowhere" in never.said
    assert good.ok and not wrong.ok and "one is not two" in wrong.said


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
