"""The hardware counter of an ATECC608, by its driver."""

import shutil
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from _counter import SteppingClock
from support.chips608 import key_on, our_chip
from support.station import Fleet
from tallystick.hw import atecc608_chip
from tallystick.hw.virtual_atecc608 import VirtualAtecc608
from tallystick.recorder import Recorder

MINUTE_MS = 60_000


class Robot:
    """A device with a chip, through boots."""

    def __init__(self, folder: Path, chip: VirtualAtecc608) -> None:
        self.chip = chip
        key = key_on(chip)
        self.config: dict[str, Any] = Fleet(folder).device("one", signer=key, wait_s=5)
        self.config["key"] = "atecc608:bus=1"
        self.journal = Path(self.config["journal"])

    def boot(self) -> Recorder:
        self.clock = SteppingClock()
        self.key = key_on(self.chip)
        self.tally = Recorder.open(self.config, signer=self.key, clock=self.clock, background=False)
        return self.tally

    def run(self, minutes: int) -> None:
        for number in range(minutes):
            self.tally.decision("m@1", {"n": number})
            self.clock.now += MINUTE_MS
            for _ in range(400):
                self.tally.step()

    def count(self) -> int:
        counter = key_on(self.chip).counter()
        value: int = counter.read()
        return value

    def life(self, minutes: int) -> Recorder:
        tally = self.boot()
        self.run(minutes)
        tally.close()
        return tally


@pytest.fixture
def robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Robot:
    # The driver's time passes with each look at it.
    ticks = count()
    monkeypatch.setattr(atecc608_chip, "ticks_ms", lambda: next(ticks))
    monkeypatch.setattr(atecc608_chip, "sleep_ms", lambda ms: [next(ticks) for _ in range(ms)])
    return Robot(tmp_path / "fleet", our_chip())


def test_an_older_image_is_found_by_the_chip(robot: Robot, tmp_path: Path) -> None:
    tally = robot.life(40)
    epoch = tally.epoch
    assert tally.health.counter == robot.count() == 1
    assert tally.health.counter_left == 2_097_150
    assert tally.health.counter_years == 59
    shutil.copytree(robot.journal, tmp_path / "image")
    assert robot.life(20).epoch == epoch
    assert robot.count() == 2
    shutil.rmtree(robot.journal)
    shutil.copytree(tmp_path / "image", robot.journal)
    tally = robot.life(3)
    assert tally.epoch != epoch
    assert tally.health.faults == {"counter:rollback": 1}


@pytest.mark.parametrize("cut", ["before", "after"])
def test_the_chip_loses_power_in_the_middle_of_a_raise(robot: Robot, cut: str) -> None:
    robot.life(100)
    before = robot.count()
    tally = robot.boot()
    epoch = tally.epoch
    robot.chip.faults.cut = cut
    robot.run(2)
    robot.chip.faults.cut = ""
    robot.chip.power(on=True)
    robot.run(5)
    assert robot.count() == before + 1
    assert tally.flush()
    assert tally.health.counter == before + 1
    tally.close()
    tally = robot.life(2)
    assert tally.epoch == epoch
    assert tally.health.faults == {}


def test_a_chip_that_is_away_at_boot(robot: Robot) -> None:
    robot.life(40)
    counted = robot.count()
    chip = robot.chip
    key = key_on(chip)
    chip.faults.unplugged = True
    clock = SteppingClock()
    tally = Recorder.open(robot.config, signer=key, clock=clock, background=False)
    assert not tally.health.key_ok
    tally.decision("m@1")
    assert tally.health.dropped == 0
    chip.faults.unplugged = False
    chip.power(on=True)
    for _ in range(60):
        clock.now += MINUTE_MS
        for _ in range(400):
            tally.step()
    assert tally.flush()
    assert tally.health.key_ok
    assert tally.health.counter == robot.count() > counted
    tally.close()
