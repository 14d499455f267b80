"""The power goes, or the flash fails, while a full journal is compacted.

After each: every index is held, elided or in custody; what is elided is what was told, exactly; its
hashes are those of a naive tree; and the real gateway takes all that is sent.
"""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.fullrobot import Robot, workload
from tallystick.recorder.files import Files

# Each operation was cut by hand; a stride that is prime reaches each kind.
STRIDE = 23
WORK = workload(1, 150)


def last_boot(robot: Robot) -> int:
    """One more boot, that is not cut."""
    robot.open()
    assert not robot.tally._ledger.journal.damage, "a power cut is no damage"
    assert not robot.leftover()
    for what, size in workload(99, 12):
        robot.record(what, size)
        robot.work()
    elided = robot.check()
    assert not robot.leftover()
    robot.deliver()
    robot.tally.close()
    return elided


def test_a_cut_at_operations_all_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Robot(tmp_path / "whole", monkeypatch)
    assert whole.boot(WORK, None)
    assert last_boot(whole) > 40
    for at in range(5, whole.operations, STRIDE):
        robot = Robot(tmp_path / str(at), monkeypatch)
        assert not robot.boot(WORK, at, seed=at)
        last_boot(robot)


def test_cut_after_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(3)
    for run in range(10):
        robot = Robot(tmp_path / str(run), monkeypatch)
        robot.boot(WORK[:100], None)
        for boot in range(4):
            robot.boot(workload(boot, 20), chance.randrange(1, 80), seed=run * 10 + boot)
        last_boot(robot)


def test_a_flash_that_fails_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each operation fails once, at its begin or in its middle; nothing is lost by that."""
    for run in range(8):
        robot = Robot(tmp_path / str(run), monkeypatch)
        robot.open(files=Files(robot.config["journal"]))
        flaky = Flaky(robot.files, random.Random(run))
        for what, size in WORK:
            robot.record(what, size)
            robot.work()
            robot.tally._ledger.clock.now += 200
        flaky.rate = 0.0
        for _ in range(3):
            robot.tally._ledger.clock.now += 5000
            robot.work()
        assert flaky.failed > 5
        robot.check()
        assert not robot.leftover()
        robot.deliver()
        robot.tally.close()
        robot.open()
        robot.check()
        assert "journal:unreadable" not in robot.tally.health.faults
        robot.tally.close()


class Flaky:
    """Takes the place of a folder's operations; some raise, some after half of the work."""

    def __init__(self, files: Files, chance: random.Random) -> None:
        self.rate = 0.05
        self.failed = 0
        self._chance = chance
        for name in ("appending", "write", "sync", "rename", "remove", "reading"):
            setattr(files, name, self._wrapped(getattr(files, name), name))

    def _wrapped(self, operation: Any, name: str) -> Any:
        def flaky(*args: Any) -> Any:
            if self._chance.random() >= self.rate:
                return operation(*args)
            self.failed += 1
            if name == "write":
                operation(args[0], args[1][: len(args[1]) // 2])
            elif name in ("sync", "rename", "remove") and self._chance.random() < 0.5:
                operation(*args)
            raise OSError(5, "the flash failed")

        return flaky


STEP = st.tuples(
    st.sampled_from(["decision", "decision", "decision", "decision", "event", "claim"]),
    st.integers(0, 400),
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(STEP, max_size=60), min_size=1, max_size=3), st.integers(1, 24))
def test_any_workload(
    tmp_path_factory: pytest.TempPathFactory, boots: list[list[tuple[str, int]]], records: int
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        robot = Robot(tmp_path_factory.mktemp("any"), monkeypatch)
        robot.config["checkpoint_records"] = records
        for steps in boots:
            assert robot.boot(steps, None)
        last_boot(robot)
