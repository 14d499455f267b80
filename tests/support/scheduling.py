"""How tests are shared out to the workers of xdist, whose `loadfile` keeps a file's tests together.

Imported by tests/conftest.py.
"""

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent

# What takes longest begins first, or one worker ends with it alone. About by their time; `make
# test` tells xdist not to sort files by their number of tests.
FIRST = (
    # Three minutes by the clock, of which it computes one.
    "chaos/test_chaos.py",
    "test_device_suite.py",
    "hw/test_conformance.py",
    "powercut/test_cuts.py",
    "simulation/test_seeds_1.py",
    "simulation/test_seeds_2.py",
    "simulation/test_seeds_3.py",
    "tools/test_demo.py",
    "tools/test_replay.py",
    "recorder/test_bounded.py",
    "tools/test_bench_sign.py",
    "recorder/test_chip.py",
    "evidence/test_flips_properties.py",
    "fuzz/test_targets.py",
    "gateway/test_serial.py",
    "recorder/test_kills.py",
    "verify/test_reconcile.py",
    "tools/test_bench.py",
    "powercut/test_faults.py",
    "recorder/test_counter.py",
    "test_operations.py",
    "test_readme.py",
    "hw/test_atecc608_micropython.py",
    "hw/test_atecc608_faults.py",
    "recorder/test_halves.py",
    "verify/test_evidence_check.py",
    "tools/test_fleet_keys.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {TESTS / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(FIRST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Three on two cores: a good part of the tests waits for a chip, a broker or a silent peer."""
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    asked = getattr(os, "sched_getaffinity", None)
    cores = len(asked(0)) if asked else os.cpu_count() or 1
    return cores + (cores + 1) // 2
