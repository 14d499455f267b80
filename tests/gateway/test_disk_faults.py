"""F07, F08, F09, F19: the store under power cuts, kills and failing calls, at each call."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.devices import Device, Fleet
from support.disk import FULL, Disk
from support.gateways import MemoryGateway
from support.site import Site, until
from tallystick.evidence import segment as segments
from tallystick.evidence.segment import verify_segment
from tallystick.evidence.tree import Tree
from tallystick.gateway import limits, service, store
from tallystick.gateway.capacity import Capacity
from tallystick.gateway.gatewaylog import read_node, tree_at
from tallystick.gateway.pruning import Pruner
from tallystick.gateway.retention import Retention
from tallystick.gateway.store import VERSION, Store, open_reader
from tallystick.gateway.tracks import tree_from

ACME = Fleet("acme")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    # Checkpoints of the write-ahead log belong to the story: let them come often.
    monkeypatch.setattr(limits, "WAL_PAGES", 12)
    monkeypatch.setattr(limits, "STORE_RETRY_S_MIN", 0.001)
    monkeypatch.setattr(limits, "STORE_RETRY_S_MAX", 0.002)
    with Disk().in_use() as made:
        yield made


def robot_of(count: int) -> Device:
    robot = ACME.device()
    for _ in range(count):
        robot.record(12)
    return robot


def promised(gate: MemoryGateway, robot: Device) -> int:
    """Up to where the device holds custody receipts."""
    return max((receipt.to for receipt in gate.custody(robot)), default=0)


def stored(path: Path, robot: Device) -> int:
    """The store opens, is whole, and holds each record once; how many."""
    opened = Store(path)
    with opened.write() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        at, tree = 0, Tree()
        rows = connection.execute("SELECT at, first, until, root FROM segments ORDER BY at")
        for number, first, to, root in rows.fetchall():
            assert first == at
            assert root == robot.tree(to).root()
            tree.push(read_node(connection, 0, number))
            at = to
        assert tree_at(connection, tree.size).root() == tree.root()
    opened.close()
    return at


def abandon(gate: MemoryGateway) -> None:
    """As a killed process leaves it: nothing is closed in order."""
    os.close(gate.store._descriptor)
    gate.store._descriptor = -1
    gate.store.close()


# --- F08 ------------------------------------------------------------------------------------


def cuts(disk: Disk, folder: Path) -> int:
    """Cuts the power before each call; how many times something promised was lost."""
    gate = MemoryGateway(folder / "gateway", ACME)
    robot = robot_of(6)
    gate.know(robot)
    made: list[tuple[Path, int]] = []

    def before(call: int) -> None:
        where = folder / f"cut-{call}"
        disk.cut(where)
        made.append((where / "gateway.sqlite", promised(gate, robot)))

    disk.before = before
    for data in robot.segments():
        gate.give(robot, data)
    disk.before(10**6)
    disk.before = lambda _call: None
    assert promised(gate, robot) == robot.size
    gate.store.close()
    assert len(made) > 40
    return sum(stored(path, robot) < least for path, least in made)


def test_a_power_cut_at_any_call_loses_nothing_that_was_promised(
    disk: Disk, tmp_path: Path
) -> None:
    assert cuts(disk, tmp_path) == 0


def test_the_control_without_full_loses_some(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_FULL", 1)
    assert cuts(disk, tmp_path) > 0


# --- F07 ------------------------------------------------------------------------------------


def test_killed_at_any_call_nothing_is_lost_or_there_twice(disk: Disk, tmp_path: Path) -> None:
    robot = robot_of(4)
    (tmp_path / "all").mkdir()
    gate = MemoryGateway(tmp_path / "all", ACME)
    gate.know(robot)
    made: list[tuple[Path, int]] = []

    def before(call: int) -> None:
        where = tmp_path / f"kill-{call}"
        disk.kept(where)
        made.append((where, promised(gate, robot)))

    disk.before = before
    for data in robot.segments():
        gate.give(robot, data)
    disk.before = lambda _call: None
    gate.store.close()
    assert len(made) > 25
    for where, least in made:
        assert stored(where / "gateway.sqlite", robot) >= least
        again = MemoryGateway(where, ACME)
        again.give(robot, *robot.segments())
        assert promised(again, robot) == robot.size
        again.store.close()
        assert stored(where / "gateway.sqlite", robot) == robot.size


def test_pruning_that_is_killed_or_cut_off_leaves_every_segment_provable(
    disk: Disk, tmp_path: Path
) -> None:
    robot = robot_of(12)
    gate = MemoryGateway(tmp_path / "gateway", ACME)
    gate.know(robot)
    gate.give(robot, *robot.segments())
    with gate.store.write() as connection:
        connection.execute(
            "INSERT INTO validators (name, key, cursor, verdicts_after, batches) "
            "VALUES ('insurer', x'00', 12, 0, 1)"
        )
        connection.execute("INSERT INTO sent_as VALUES ('insurer', 0, 'full')")
        connection.execute("INSERT INTO receipts SELECT 'insurer', checkpoint, x'01' FROM segments")
    made: list[Path] = []

    def before(call: int) -> None:
        for name, write in (("kill", disk.kept), ("cut", disk.cut)):
            where = tmp_path / f"{name}-{call}"
            write(where)
            made.append(where / "gateway.sqlite")

    capacity = Capacity("warning", 90, 100, 0, "disk")
    pruner = Pruner(
        gate.store, Retention(validators=("insurer",)), lambda: capacity, threading.Event()
    )
    disk.before = before
    assert not pruner.turn(10**13)
    assert pruner.pruned == 12
    before(10**6)
    disk.before = lambda _call: None
    gate.store.close()
    key, gone = robot.signer.public_key(), set()
    for path in made:
        assert stored(path, robot) == robot.size
        reader = open_reader(path)
        (pruned,) = reader.execute("SELECT count(*) FROM pruned").fetchone()
        for first, edge, data in reader.execute("SELECT first, edge, data FROM segments"):
            segment = segments.parse(data)
            verify_segment(segment, key, tree_from(first, edge))
            # All of it goes in one transaction, or nothing.
            assert (segment.stretches[0].elided > 0) == (pruned > 0)
        reader.close()
        gone.add(pruned)
    assert gone == {0, 12}


# --- F09 ------------------------------------------------------------------------------------


class _Watched:
    """What was acknowledged and promised whenever a call failed."""

    def __init__(self, gate: MemoryGateway, robot: Device) -> None:
        self._gate, self._robot = gate, robot
        self.seen: list[tuple[int, int]] = []

    def watching(self, fails: Callable[[int, str], int]) -> Callable[[int, str], int]:
        def watched(at: int, what: str) -> int:
            code = fails(at, what)
            if code:
                self.seen.append((len(self._gate.link.acked), promised(self._gate, self._robot)))
            return code

        return watched


@pytest.mark.parametrize("code", [None, FULL], ids=["io-error", "disk-full"])
@pytest.mark.parametrize("count", [1, 7])
def test_a_call_that_fails_is_never_acknowledged_over(
    code: int | None, count: int, disk: Disk, tmp_path: Path
) -> None:
    gate = MemoryGateway(tmp_path, ACME)
    robot = robot_of(60)
    gate.know(robot)
    pieces = iter(robot.segments())
    for call, data in enumerate(pieces):
        before, acked, began = promised(gate, robot), len(gate.link.acked), disk.calls
        watched = _Watched(gate, robot)
        disk.fail(call, code, count)
        disk.fails = watched.watching(disk.fails)
        gate.give(robot, data)
        disk.heal()
        # At the first that failed nothing more than before was promised, nor acknowledged unless
        # it came after the COMMIT (the custody receipt's row, a checkpoint of the log).
        assert watched.seen[:1] in ([], [(acked, before)], [(acked + 1, before)])
        assert len(gate.link.acked) == acked + 1
        if promised(gate, robot) == before:
            gate.give(robot, data)  # the receipt's row failed; its device sends again
        assert promised(gate, robot) > before
        assert gate.worker.store_error == ""
        if call > disk.calls - began:
            break
    else:
        message = "there are more calls than segments"
        raise AssertionError(message)
    gate.store.close()
    assert stored(tmp_path / "gateway.sqlite", robot) == promised(gate, robot)


def test_while_it_fails_it_says_so_and_goes_on_by_itself(disk: Disk, tmp_path: Path) -> None:
    gate = MemoryGateway(tmp_path, ACME)
    robot = robot_of(20)
    gate.know(robot)
    disk.fail(0, FULL, 10**9)
    gate.send(robot, *robot.segments())
    working = threading.Thread(target=gate.turn, daemon=True)
    working.start()
    until(lambda: "full" in gate.worker.store_error, "the error")
    calls = disk.calls
    until(lambda: disk.calls > calls + 5, "more tries")
    assert gate.link.acked == []
    assert gate.link.down == []
    disk.heal()
    working.join(60)
    assert gate.worker.store_error == ""
    assert len(gate.link.acked) == 20
    assert promised(gate, robot) == robot.size
    gate.store.close()
    assert stored(tmp_path / "gateway.sqlite", robot) == robot.size


def test_a_start_on_a_full_disk_waits_for_room(disk: Disk, tmp_path: Path) -> None:
    site = Site(tmp_path, ACME, 1)
    disk.fail(0, FULL, 10**9)
    stop, started = threading.Event(), threading.Event()
    running = threading.Thread(
        target=service.run, args=(site.config, stop, lambda _gateway: started.set()), daemon=True
    )
    running.start()
    calls = disk.calls
    until(lambda: disk.calls > calls + 3, "some tries")
    assert running.is_alive()
    assert not started.is_set()
    disk.heal()
    until(started.is_set, "the start")
    stop.set()
    running.join(60)
    assert not running.is_alive()


# --- F19 ------------------------------------------------------------------------------------

_BACK_TO_3 = """
BEGIN;
DROP TABLE sent_as; DROP TABLE pruned; DROP TABLE holds; DROP TABLE damaged; DROP TABLE poison;
DROP TABLE device_holds;
ALTER TABLE set_aside DROP COLUMN tries;
ALTER TABLE set_aside DROP COLUMN retry_ms;
INSERT INTO set_aside VALUES ('insurer', 2, 'bad-root', 7);
PRAGMA user_version = 3;
COMMIT;
"""


def older(path: Path, robot: Device) -> None:
    """A store of version 3, with half of a device's segments."""
    gate = MemoryGateway(path.parent, ACME)
    gate.know(robot)
    gate.give(robot, *robot.segments()[:4])
    gate.store.close()
    connection = sqlite3.connect(path)
    connection.executescript(_BACK_TO_3)
    connection.close()


def test_an_upgrade_in_the_middle_of_load(disk: Disk, tmp_path: Path) -> None:
    robot = robot_of(8)
    older(tmp_path / "gateway.sqlite", robot)
    gate = MemoryGateway(tmp_path, ACME)
    # What came meanwhile, and what the device sends again.
    gate.give(robot, *robot.segments())
    assert promised(gate, robot) == robot.size
    reader = gate.store.reader()
    assert reader.execute("SELECT * FROM set_aside").fetchall() == [
        ("insurer", 2, "bad-root", 7, 1, 0)
    ]
    reader.close()
    gate.store.close()
    assert stored(tmp_path / "gateway.sqlite", robot) == robot.size


def test_an_upgrade_that_is_cut_off_is_done_or_not_at_all(disk: Disk, tmp_path: Path) -> None:
    robot = robot_of(8)
    path = tmp_path / "first" / "gateway.sqlite"
    path.parent.mkdir()
    older(path, robot)
    made: list[Path] = []

    def before(call: int) -> None:
        for name, write in (("kill", disk.kept), ("cut", disk.cut)):
            where = tmp_path / f"{name}-{call}"
            write(where)
            made.append(where / "gateway.sqlite")

    disk.before = before
    Store(path).close()
    disk.before = lambda _call: None
    assert len(made) > 10
    found = set()
    for one in made:
        reader = open_reader(one)
        (version,) = reader.execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in reader.execute("SELECT name FROM sqlite_master")}
        newer = {"holds", "poison", "device_holds"}
        assert tables & newer == (newer if version == VERSION else set())
        reader.close()
        found.add(version)
        assert stored(one, robot) == robot.stretches[3].to
    assert found == {3, VERSION}
