"""docs/durability.md, section 2: what happens at 80, 95 and 100 percent of the store."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.devices import Device, Fleet
from support.gateways import MemoryGateway
from support.site import Site
from tallystick.gateway import capacity, limits
from tallystick.gateway.capacity import Gauge, Usage
from tallystick.gateway.service import Gateway

ACME = Fleet("acme")
MAX = 1_000_000_000
PLENTY = 1 << 50


def usage(percent: float) -> Usage:
    return Usage(int(percent * MAX / 100), 0, PLENTY)


@pytest.mark.parametrize(
    ("percent", "level"),
    [
        *((0, "ok"), (79.9, "ok"), (80, "warning"), (94.9, "warning")),
        *((95, "stopped"), (99.9, "stopped"), (100, "full"), (150, "full")),
    ],
)
def test_where_a_level_begins(percent: float, level: str) -> None:
    assert Gauge(MAX).read(usage(percent), 1).level == level


def test_a_level_is_left_one_percent_below_where_it_begins() -> None:
    gauge = Gauge(MAX)
    way = [(95, "stopped"), (94.5, "stopped"), (93.9, "warning"), (79.5, "warning"), (78, "ok")]
    assert [gauge.read(usage(p), 1).level for p, _ in way] == [level for _, level in way]
    assert gauge.read(usage(101), 1).level == "full"
    assert gauge.read(usage(99.5), 1).level == "full"
    # From full straight to where stopped has not been left either.
    assert gauge.read(usage(94.5), 1).level == "stopped"
    assert gauge.read(usage(10), 1).level == "ok"


def test_since_when_is_when_the_level_changed() -> None:
    gauge = Gauge(MAX)
    assert gauge.read(usage(10), 5).since_ms == 5
    assert gauge.read(usage(20), 6).since_ms == 5
    assert gauge.read(usage(85), 7).since_ms == 7
    assert gauge.read(usage(86), 8).since_ms == 7


def test_the_file_system_counts_too() -> None:
    reserve = limits.DISK_RESERVE_BYTES
    # 900 MB used, 100 MB empty pages, and the disk has nothing: those pages can still be written.
    full = Usage(900_000_000, 100_000_000, reserve)
    assert capacity.allowed(full, 10 * MAX) == (1_000_000_000, "disk")
    assert capacity.allowed(full, MAX // 2) == (MAX // 2, "store_bytes_max")
    assert capacity.allowed(Usage(900, 0, reserve + 100), MAX) == (1_000, "disk")
    # Less than the reserve is left: nothing can be promised beyond what is there.
    found = Gauge(MAX).read(Usage(900, 0, reserve - 1), 1)
    assert (found.level, found.bound, found.left) == ("full", "disk", 0)


@given(st.lists(st.integers(0, 2 * MAX), min_size=1, max_size=20), st.integers(64 << 20, 2 * MAX))
def test_never_taking_from_95_percent_on(used: list[int], most: int) -> None:
    gauge = Gauge(most)
    for one in used:
        found = gauge.read(Usage(one, 0, PLENTY), 1)
        if 100 * one >= 95 * most:
            assert not found.taking
        if 100 * one < 78 * most:
            assert found.level == "ok"


@pytest.fixture
def gate(tmp_path: Path) -> MemoryGateway:
    return MemoryGateway(tmp_path, ACME)


def robot_of(gate: MemoryGateway) -> Device:
    robot = ACME.device()
    for _ in range(12):
        robot.record(30)
    gate.know(robot)
    return robot


def fill_to(gate: MemoryGateway, percent: float) -> None:
    gate.worker.gauge.bytes_max = int(gate.store.usage().used * 100 / percent)


def test_a_stopped_store_takes_and_acknowledges_nothing_and_goes_on_by_itself(
    gate: MemoryGateway,
) -> None:
    robot = robot_of(gate)
    gate.give(robot, *robot.segments()[:2])
    acked, down = len(gate.link.acked), len(gate.link.down)
    fill_to(gate, 96)
    gate.give(robot, *robot.segments()[2:])
    assert not gate.worker.capacity.taking
    assert len(gate.link.acked) == acked
    # Nothing comes down either: who is told to stop is told at 100 percent.
    assert gate.link.down[down:] == []
    assert len(gate.inbox) == 10
    fill_to(gate, 50)
    gate.turn()
    assert gate.worker.capacity.level == "ok"
    assert gate.custody(robot)[-1].to == robot.size
    assert len(gate.inbox) == 0
    assert gate.refused() == {}


def test_a_full_store_tells_devices_whose_messages_wait(gate: MemoryGateway) -> None:
    robot, stranger = robot_of(gate), ACME.device("stranger")
    stranger.record(3)
    fill_to(gate, 100)
    gate.send(robot, *robot.segments())
    gate.send(stranger, *stranger.segments())
    for _ in range(3):
        gate.turn()
    # Once, and then seldom; nothing to whom nobody knows.
    assert [notice.reason for notice in gate.notices(robot)] == ["store-full"]
    assert gate.notices(stranger) == []
    assert gate.link.acked == []
    assert gate.ranges() == []


def test_a_warning_changes_nothing(gate: MemoryGateway) -> None:
    robot = robot_of(gate)
    fill_to(gate, 60)
    gate.worker.gauge.bytes_max = int(gate.store.usage().used / 0.82)
    gate.give(robot, robot.segments()[0])
    assert gate.worker.capacity.level == "warning"
    assert gate.custody(robot)[-1].to > 0


def test_a_group_never_jumps_over_what_is_kept_free(tmp_path: Path) -> None:
    # 5 percent of a small store is less than a group of the intake may be.
    gate = MemoryGateway(tmp_path, ACME)
    robot = ACME.device()
    for _ in range(60):
        robot.record(200)
    gate.know(robot)
    gate.worker.gauge.bytes_max = gate.store.usage().used + 400_000
    gate.send(robot, *robot.segments())
    for _ in range(100):
        gate.worker.turn(0)
        assert gate.store.usage().used < gate.worker.gauge.bytes_max
    assert not gate.worker.capacity.taking
    assert 0 < gate.custody(robot)[-1].to < robot.size


def test_poison_is_kept_with_its_reason_and_tried_again(
    gate: MemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot, other = robot_of(gate), ACME.device("robot-2")
    other.record(3)
    gate.know(other)
    handle = gate.worker.core._placer.place

    def fails(log: object, segment: object, identity: object) -> object:
        if getattr(segment, "device", None) == robot.id:
            raise ZeroDivisionError
        return handle(log, segment, identity)  # type: ignore[arg-type]

    monkeypatch.setattr(gate.worker.core._placer, "place", fails)
    gate.give(robot, robot.segments()[0])
    gate.give(other, *other.segments())
    assert gate.custody(robot) == []
    assert gate.custody(other)[-1].to == other.size
    row = poison(gate)
    assert row[0][1:] == (robot.id, robot.segments()[0], "ZeroDivisionError", 1, 0)
    # The next start is perhaps of a program that does not fail.
    gate.worker.close()
    gate.reopen()
    gate.turn()
    assert poison(gate) == []
    assert gate.custody(robot)[-1].to == robot.stretches[0].to


def test_poison_of_strangers_is_counted_and_not_kept(
    gate: MemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = ACME.device("stranger")
    stranger.record(1)

    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(gate.worker.core, "_hello", fails)
    gate.give(stranger, stranger.hello())
    assert gate.refused() == {"internal-error": 1}
    assert poison(gate) == []


def poison(gate: MemoryGateway) -> list[tuple[object, ...]]:
    reader = gate.store.reader()
    rows = reader.execute("SELECT number, device, data, message, count, retry FROM poison")
    found = rows.fetchall()
    reader.close()
    return found


def test_a_level_that_could_not_be_written_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, ACME, 1)
    gateway = Gateway(site.config)
    try:
        gateway._telling.turn()
        assert site.status()["process"]["store"]["level"] == "ok"
        used = gateway.store.usage().used
        # The disk is full now, and with it the place where the gateway would say so.
        monkeypatch.setattr(
            "tallystick.gateway.status.measure", lambda *_: Usage(used, 0, disk_free=0)
        )
        assert site.status()["process"]["store"]["level"] == "full"
    finally:
        gateway.stop()
    assert site.status()["process"]["store"]["level"] == "full"
