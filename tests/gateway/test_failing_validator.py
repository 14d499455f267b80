"""A validator that fails over one segment: that is set aside, and what is behind it goes on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.test_quarantine import ACME, House
from support.devices import Device
from tallystick.gateway import limits
from tallystick.gateway.backoff import Backoff


def put(house: House, statement: str) -> None:
    """Change the validator's store behind its back."""
    service = house.notary.service
    assert service is not None
    service.sequencer.in_turn("test", lambda c: c.exec_driver_sql(statement)).result(60)


def refusals(house: House) -> dict[str, int]:
    service = house.notary.service
    assert service is not None
    return service.sequencer.refusals.totals()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    made.forwarder.circuit.backoff = Backoff(0.001)
    made.turns(2)
    yield made
    made.notary.stop()
    made.gate.store.close()


def give(house: House, *robots: Device) -> None:
    for robot in robots:
        house.gate.know(robot)
        robot.record(3)
        house.gate.give(robot, *robot.segments()[-1:])


def test_the_segment_is_set_aside_and_taken_once_the_defect_is_gone(house: House) -> None:
    robots = [ACME.device(f"robot-{n}") for n in range(6)]
    # A defect that shows with one device only.
    one = f"BEFORE INSERT ON logs WHEN NEW.device = x'{robots[1].id.hex()}'"
    put(house, f"CREATE TRIGGER defect {one} BEGIN SELECT RAISE(ABORT, 'a defect'); END")
    give(house, *robots)
    # Twice it may be by chance: nothing is set aside, and nothing is lost.
    for _ in range(limits.DEFECTS_MAX - 1):
        house.forwarder.turn()
        assert house.forwarder.backing_off
        assert house.forwarder._segments_max == limits.BATCH_SEGMENTS
    assert house.aside() == []
    assert refusals(house) == {"internal-error": limits.DEFECTS_MAX - 1}
    house.turns(40)
    assert house.aside() == [(1, "internal-error", 1)]
    assert house.forwarder.cursor == len(robots)
    assert house.receipts() == len(robots) - 1
    service = house.notary.service
    assert service is not None and service.sequencer.failure is None
    # What that device sends next waits beside it, and nobody else's does.
    give(house, *robots)
    house.turns(60)
    assert {at for at, _, _ in house.aside()} == {1, 7}
    assert house.receipts() == 2 * (len(robots) - 1)
    put(house, "DROP TRIGGER defect")
    house.tally("retry", "--all")
    house.turns(40)
    assert house.aside() == []
    assert house.receipts() == 2 * len(robots)
