"""How tests are shared out to the workers of xdist, whose `loadfile` keeps a file's tests together.

Every worker collects all tests. On a new machine that is mostly pytest's rewriting of their
asserts, which it keeps for whoever comes later: so each worker begins elsewhere, and finds done
what another one began with.

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
    "tools/test_replay.py",
    # Those of the simulation compute and never wait: others go between them.
    "simulation/test_seeds_1.py",
    "hw/test_conformance.py",
    "test_device_suite.py",
    "simulation/test_seeds_2.py",
    "tools/test_demo.py",
    "test_operations.py",
    "tools/test_bench.py",
    "simulation/test_seeds_3.py",
    "simulation/test_simulation.py",
    "tools/test_replay_sonar.py",
    "powercut/test_cuts.py",
    "tools/test_device_cli.py",
    "validator/test_workers.py",
    "tools/test_bench_steady.py",
    "recorder/test_bounded.py",
    "tools/test_bench_sign.py",
    "recorder/test_chip.py",
    "evidence/test_flips_properties.py",
    "fuzz/test_targets.py",
    "gateway/test_serial.py",
    "recorder/test_kills.py",
    "verify/test_reconcile.py",
    "validator/test_hostile.py",
    "validator/test_crash.py",
    "tools/test_bench_validator.py",
    "tools/test_bench_gateway.py",
    "powercut/test_faults.py",
    "recorder/test_counter.py",
    "gateway/test_crash.py",
    "gateway/test_urgent.py",
    "verify/test_nearby.py",
    "test_readme.py",
    "hw/test_atecc608_micropython.py",
    "hw/test_atecc608_faults.py",
    "recorder/test_halves.py",
    "verify/test_evidence_check.py",
    "tools/test_fleet_keys.py",
)


def begins(number: int, workers: int) -> list[Path]:
    """The folders and files of the tests, from where this worker of so many begins, round."""
    parts = [path for path in sorted(TESTS.iterdir()) if sizes(path)]
    whole, before = sum(map(sizes, parts)), 0
    for at, path in enumerate(parts):
        if before * workers >= whole * number:
            return parts[at:] + parts[:at]
        before += sizes(path)
    return parts[-1:] + parts[:-1]


def sizes(path: Path) -> int:
    """Bytes of tests in it."""
    files = path.rglob("test_*.py") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.match("test_*.py"))


def pytest_configure(config: pytest.Config) -> None:
    given = getattr(config, "workerinput", None)
    if given is not None and [Path(config.rootpath, one) for one in config.args] == [TESTS]:
        number = int(given["workerid"].removeprefix("gw"))
        config.args[:] = map(str, begins(number, given["workercount"]))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest, then by name: all workers must have the same order."""
    places = {TESTS / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: (places.get(item.path, len(FIRST)), item.path))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Two a core: a good part of the tests waits for a chip, a broker or a silent peer."""
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    asked = getattr(os, "sched_getaffinity", None)
    cores = len(asked(0)) if asked else os.cpu_count() or 1
    return 2 * cores
