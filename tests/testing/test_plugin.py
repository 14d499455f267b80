"""tallystick.testing, as a robot's developer uses it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tallystick.evidence.errors import TallyError, Unverified
from tallystick.recorder import Recorder
from tallystick.testing import Workshop

ROBOT = """
from tallystick.recorder import Recorder

tally = Recorder.open()

@tally.decides("m@1", inputs=("speed",), constraints={"speed": ("<=", "0.5")})
def grip(speed):
    return "grip" if speed <= 0.5 else "wait"

def end():
    tally.close()
"""
CONFTEST = 'pytest_plugins = ["tallystick.testing.plugin"]\n'
TESTS = """
from robot import end, grip
from tallystick.recorder import Recorder

def test_one(tally):
    assert Recorder.open() is tally and Recorder.open(background=False) is tally
    grip(0.7)
    end()
    (decision,) = tally.recorded.decisions
    assert decision.broken == ["speed"] and decision.output == "wait"
    assert tally.health.counter_left > 2_000_000  # it is the chip's

def test_two(tally):
    assert tally.recorded.decisions == []
    grip(0.2)
    assert len(tally.recorded.decisions) == 1 and not tally.recorded.faults
"""


def run(folder: Path, tests: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    (folder / "robot.py").write_text(ROBOT)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_robot.py").write_text(tests)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_module_that_opens_its_recorder_when_imported(tmp_path: Path) -> None:
    done = run(tmp_path, TESTS)
    assert "2 passed" in done.stdout, done.stdout


def test_a_wrong_expectation_fails(tmp_path: Path) -> None:
    done = run(tmp_path, TESTS.replace('output == "wait"', 'output == "grip"'))
    assert "1 failed, 1 passed" in done.stdout, done.stdout


def test_off_is_said_and_tests_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, TESTS, TALLY="off")
    assert done.returncode != 0 and "there is nothing to test" in done.stdout


def test_pytest_is_imported_by_the_plugin_only() -> None:
    code = "import sys, tallystick.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_handover_between_two_robots(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path / "workshop")
    giver, receiver = workshop.open("robot-1"), workshop.peer("robot-2")
    parties: dict[str, Any] = {"task": "order-1", "item": "pallet-7"}
    position: dict[str, Any] = {"position_m": ["1.25", "3.4"]}
    half = giver.claim(
        "handover@1", "giver", "released", {"receiver": receiver.device}, **parties, **position
    )
    accepted = receiver.accept(half)
    assert accepted.kept and accepted.status == "active"
    (claim,) = giver.recorded.claims
    assert (claim.role, claim.claim, claim.task) == ("giver", "released", "order-1")
    assert claim.fields["position_m"] == [1.25, 3.4] and set(claim.parties) == {
        "giver",
        "receiver",
    }
    assert receiver.recorded.accepted == 1
    assert workshop.peer("robot-2") is receiver is giver.peer("robot-2")
    with pytest.raises(TallyError):
        workshop.open("robot-2")
    workshop.close()


def test_what_does_not_verify_fails_the_test(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path / "workshop")
    tally = workshop.open("robot-1", chip=False)
    other = workshop.open("robot-2", chip=False)
    # Another robot's key: signatures of this one are none of it.
    tally.gateway._key = other.gateway._key
    tally.decision("m@1")
    with pytest.raises(AssertionError, match="does not verify"):
        _ = tally.recorded
    assert isinstance(tally.gateway.error, Unverified)
    workshop.close()


def test_open_is_itself_without_the_plugin() -> None:
    assert Recorder.open.__func__.__module__ == "tallystick.recorder.recorder"  # type: ignore[attr-defined]
