"""CPython runs the device tests as ordinary ones, unless a file says that it is not for it."""

from pathlib import Path

from support.device_suite import DeviceTest


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave a file out where its RUNS_ON does not name CPython."""
    if collection_path.name.startswith("test_"):
        return None if "cpython" in DeviceTest(collection_path).runs_on else True
    return None
