"""Fixtures that tests of several rooms share."""

import atexit
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support import in_memory
from support.device_suite import DEVICE_TESTS, device_test
from support.no_skip import pytest_make_collect_report, pytest_runtest_makereport
from support.scheduling import (
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_xdist_auto_num_workers,
)
from tallystick.tools import _ports, micropython
from tallystick.tools import device_library as library
from tallystick.tools import mosquitto as broker
from tallystick.tools import postgres as database
from tallystick.tools import swtpm as software_tpm
from tallystick.tools._cache import ToolMissing
from tallystick.tools.softhsm import SoftHsm

# A loaded machine is slow, which is no fault of the code. In CI the same examples come every time.
settings.register_profile("tally", deadline=None, print_blob=True)
settings.register_profile("ci", settings.get_profile("tally"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "tally")

# A shell without job control starts what stands before its `&` with Ctrl-C ignored, and children
# inherit that: the tests that press Ctrl-C would wait for an interrupt that nobody takes.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before anything asks for a temporary file; workers of xdist inherit it.
_MEMORY = in_memory.enter()
if _MEMORY is not None:
    # After pytest's own, which are registered later.
    atexit.register(_MEMORY.close)

__all__ = [
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_make_collect_report",
    "pytest_runtest_makereport",
    "pytest_xdist_auto_num_workers",
]


def pytest_sessionfinish(exitstatus: int) -> None:
    """What a failed run leaves can be looked at, until the next run."""
    if _MEMORY is not None:
        _MEMORY.keep = exitstatus in {pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED}


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """CPython runs the device tests as ordinary ones, unless a file says that it is not for it."""
    if collection_path.parent == DEVICE_TESTS and collection_path.name.startswith("test_"):
        return None if "cpython" in device_test(collection_path).runs_on else True
    return None


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """A command that a test runs in this process sets handlers of signals: they end with it."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture
def free_port() -> int:
    """A TCP port of loopback that nobody listens on now."""
    return _ports.free_port()


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[broker.Mosquitto]:
    """A real Mosquitto on loopback, one for the session: `.host`, `.port`.

    A test that stops or kills its broker makes one of its own: `broker.Mosquitto(tmp_path)`.
    """
    try:
        broker.find()
    except ToolMissing as error:
        pytest.skip(str(error))
    with broker.Mosquitto(tmp_path_factory.mktemp("mosquitto")) as running:
        yield running


def _micropython(bits: int) -> micropython.MicroPython:
    try:
        return micropython.find(bits)
    except ToolMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def micropython64() -> micropython.MicroPython:
    """MicroPython with 64-bit words."""
    return _micropython(64)


@pytest.fixture(scope="session")
def micropython32() -> micropython.MicroPython:
    """MicroPython with the 32-bit words of a microcontroller."""
    return _micropython(32)


@pytest.fixture(scope="session")
def swtpm() -> None:
    """What a software TPM needs is installed; a test that wants one makes it."""
    pytest.importorskip("tpm2_pytss", reason="tpm2-pytss is not installed")
    try:
        software_tpm.find()
        software_tpm.find("swtpm_setup")
    except ToolMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def postgresql() -> None:
    """PostgreSQL is installed; a test that wants a server makes one."""
    try:
        database.find()
    except ToolMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def softhsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    """A folder for real PKCS#11 tokens in software, of which this process knows."""
    try:
        made = SoftHsm(tmp_path / "softhsm")
    except ToolMissing as error:
        pytest.skip(str(error))
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture(scope="session")
def device_library() -> Path:
    """The library as a device holds it, compiled; for MicroPython's path."""
    return library.device_library()
