"""What goes first, what stays, and what compacting costs a journal's flash."""

from pathlib import Path
from typing import Any, BinaryIO

import pytest

from support.fullrobot import Robot, workload
from support.realgateway import given_up
from tallystick.evidence import event
from tallystick.evidence.cbor import decode
from tallystick.evidence.steps import finish
from tallystick.recorder.compacting import _choose
from tallystick.recorder.files import Files
from tallystick.recorder.frames import LEAF, PAYLOAD, RECORD_MAJOR, SUBTREE
from tallystick.recorder.journal import LESS, SEALING_BYTES
from tallystick.recorder.walking import Walker


class WatchedFiles(Files):
    """Never more than `most` bytes; and what each compacted file was, and became."""

    def __init__(self, folder: str, most: int) -> None:
        super().__init__(folder)
        self.most = most
        self.peak = 0
        self.became: list[tuple[str, int, int]] = []

    def write(self, handle: BinaryIO, data: bytes) -> None:
        super().write(handle, data)
        total = sum(self.size(name) for name in self.names() if name.endswith(".tally"))
        self.peak = max(self.peak, total)
        assert total <= self.most

    def rename(self, name: str, to: str) -> None:
        if name == LESS:
            number = to.split("-", maxsplit=1)[0]
            (old,) = [one for one in self.names() if one.startswith(number)]
            self.became.append((to, self.size(old), self.size(name)))
        super().rename(name, to)


class Held:
    """What lies in a journal: kinds of records by index, elided indexes, sizes of payloads."""

    def __init__(self, robot: Robot) -> None:
        self.records: dict[int, int] = {}
        self.elided: set[int] = set()
        self.payloads: list[tuple[int, int]] = []
        journal = robot.tally._ledger.journal
        at = journal.list[0].first
        for file in journal.list:
            walker = Walker(journal.files, file.name)
            while (frame := walker.next()) is not None:
                if frame.major == RECORD_MAJOR:
                    self.records[at] = walker.content(frame)[1]
                    at += 1
                    continue
                values = walker.values(frame)
                if values[0] in (LEAF, SUBTREE):
                    width = 1 << (values[1] if values[0] == SUBTREE else 0)
                    self.elided |= set(range(at, at + width))
                    at += width
                elif values[0] == PAYLOAD:
                    self.payloads.append((values[1], decode(values[2])[2]))
            walker.close()

    def kinds(self) -> dict[int, int]:
        found = list(self.records.values())
        return {kind: found.count(kind) for kind in set(found)}


@pytest.fixture
def robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Robot:
    return Robot(tmp_path, monkeypatch)


def run(robot: Robot, steps: list[tuple[str, int]]) -> None:
    for what, size in steps:
        robot.record(what, size)
        robot.work()


def test_it_is_never_longer_than_it_may_be_and_worn_four_times_at_most(robot: Robot) -> None:
    files = WatchedFiles(robot.config["journal"], 16384)
    robot.open(files=files)
    steps = workload(5, 120)
    # Long ones, beside which a file's other form hardly fits.
    steps += [("event" if n % 3 else "decision", 1500 + 300 * (n % 7)) for n in range(20)]
    run(robot, steps + workload(6, 60))
    assert files.peak > 12000
    assert len(files.became) > 10
    names = [name for name, _, _ in files.became]
    assert len(names) == len(set(names)), "each level once"
    for name, before, after in files.became:
        assert after <= before - 256
        assert 1 <= int(name.split("-")[2].split(".")[0]) <= 4
    robot.check()
    robot.deliver()
    robot.tally.close()


def test_decisions_go_before_events_and_events_before_claims(robot: Robot) -> None:
    robot.open()
    given: dict[str, int] = robot.tally.health.given_up
    order = []
    for what, size in workload(7, 400):
        robot.record(what, size)
        robot.work()
        for kind in given:
            if kind not in order:
                order.append(kind)
                # Nothing is left of what goes before it, but in the newest file.
                held = Held(robot)
                newest = robot.tally._ledger.journal.list[-1].first
                older = [held.records[at] for at in held.records if at < newest]
                # But for some in files that it would not make shorter.
                assert kind == "decisions" or older.count(0) < 12
    assert order == ["decisions", "events", "claims"]
    # What tells of losses, and what began the epoch, is there.
    held = Held(robot)
    assert held.records[0] == 2 and 0 not in held.elided
    assert robot.check() > 150
    robot.tally.close()


def test_what_is_in_custody_goes_first_and_is_not_told(robot: Robot) -> None:
    robot.open()
    robot.deliver()
    run(robot, workload(8, 6))
    robot.link.exchange()
    robot.work()
    custody = 0
    for what, size in workload(9, 40):
        robot.record(what, size)
        robot.work()
        if robot.number < 26:
            robot.link.exchange()
            robot.work()
            custody = robot.tally._ledger.log.custody[0]
    # A file that is in custody in part is still here.
    first = robot.tally._ledger.journal.list[0].first
    assert first < custody
    run(robot, workload(10, 70))
    held = Held(robot)
    covered = set(range(first, custody))
    assert covered <= held.elided, "bodies of every kind, at the first level already"
    told = untold = 0
    for record in _events(robot):
        if record.event == "gap":
            told += given_up(record.details)
            assert record.details["first"] >= custody
    untold = sum(robot.tally._ledger.log.untold[2:])
    assert told + untold == len(held.elided - covered) > 20
    assert sum(robot.tally.health.given_up.values()) == told + untold
    robot.tally.close()


def _events(robot: Robot) -> list[Any]:
    journal = robot.tally._ledger.journal
    found = []
    for file in journal.list:
        walker = Walker(journal.files, file.name)
        while (frame := walker.next()) is not None:
            if frame.major == RECORD_MAJOR and walker.content(frame)[1] == 2:
                found.append(event.parse(walker.content(frame)))
        walker.close()
    return found


def test_heads_of_an_idle_device_go_but_for_the_last_of_a_file(robot: Robot) -> None:
    robot.config["interval_s"] = 0.1
    robot.open()
    run(robot, workload(11, 10))
    ledger = robot.tally._ledger
    for _ in range(260):
        ledger.clock.now += 200
        robot.work()
    # A head each tenth of a second: far more than fit.
    assert ledger.log.ordinal > 150
    assert robot.tally.health.given_up == {} or sum(robot.tally.health.given_up.values()) < 12
    assert "journal:full" not in robot.tally.health.faults
    held = Held(robot)
    assert len(held.payloads) < ledger.log.ordinal // 2
    last = {}
    for file in ledger.journal.list:
        last[file.number] = _ordinals(robot, file.name)
    for file in ledger.journal.list[1:]:
        walker = Walker(ledger.journal.files, file.name)
        header = walker.values(walker.next())  # type: ignore[arg-type]  # a file has one
        walker.close()
        # The head at which a file begins is the last one of the file before it.
        assert last[file.number - 1][-1] == header[10][-1][0]
    robot.check()
    robot.config["interval_s"] = 60
    robot.tally.close()
    robot.open()
    robot.deliver()
    robot.tally.close()


def _ordinals(robot: Robot, name: str) -> list[int]:
    walker = Walker(robot.tally._ledger.journal.files, name)
    found = []
    while (frame := walker.next()) is not None:
        if frame.major != RECORD_MAJOR:
            values = walker.values(frame)
            if values[0] == PAYLOAD:
                found.append(values[1])
    walker.close()
    return found


def test_files_of_an_epoch_that_was_left_go_first(robot: Robot) -> None:
    robot.open()
    run(robot, workload(12, 60))
    old = robot.tally.epoch
    robot.tally.close()
    newest = max(Path(robot.config["journal"]).glob("*.tally"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(bytes(data))
    robot.leaves.clear()
    robot.open()
    assert robot.tally.epoch != old
    robot.tally.close()
    robot.open()
    journal = robot.tally._ledger.journal
    left = [file.number for file in journal.list if file.epoch != robot.tally.epoch]
    assert len(left) > 2 and len(left) < len(journal.list)
    run(robot, workload(13, 40))
    assert left[0] not in [file.number for file in journal.list]
    while any(file.number in left for file in journal.list):
        assert robot.tally.health.given_up == {}
        robot.record("decision", 60)
        robot.work()
    run(robot, workload(14, 120))
    assert robot.tally.health.given_up["decisions"] > 10
    robot.check()
    robot.deliver()
    robot.tally.close()


def test_what_a_failure_leaves_takes_no_room(robot: Robot) -> None:
    files = Files(robot.config["journal"])
    robot.open(files=files)
    sync = files.sync
    failed: list[bool] = []

    def fails(handle: BinaryIO) -> None:
        if handle.name.endswith(LESS) and len(failed) < 3:
            failed.append(LESS in files.names())
            raise OSError(5, "the flash failed")
        sync(handle)

    files.sync = fails  # type: ignore[method-assign]  # the flash's
    for what, size in workload(17, 200):
        robot.record(what, size)
        robot.work()
        if len(failed) in (1, 2) and robot.tally._ledger.journal.work is None:
            assert LESS not in files.names()
        robot.tally._ledger.clock.now += 300
    assert failed == [True] * 3
    assert robot.tally.health.faults["journal:compact"] == 3
    assert robot.check() > 20
    robot.tally.close()


def test_files_have_a_bound_without_checkpoints_too(robot: Robot) -> None:
    robot.config["checkpoint_records"] = 1000
    robot.config["checkpoint_s"] = 1000
    robot.open()
    journal = robot.tally._ledger.journal
    for number in range(120):
        robot.record("event", 300 if number % 10 else 3500)
        robot.tally.poll(1)
        # Twice a file's length, a record more, and what seals it.
        assert journal.list[-1].size < 2 * 2048 + 4096 + 1024
    assert len(journal.list) > 3
    robot.work()
    robot.tally.close()


def test_what_does_not_fit_beside_the_rest_waits_for_another_level(robot: Robot) -> None:
    robot.open()
    run(robot, [("decision", 500), ("event", 1200)] * 4)
    journal = robot.tally._ledger.journal
    assert len(journal.list) > 1 and robot.tally.health.given_up == {}
    # As where much was written before it was polled again.
    journal.limit = journal.used - 10
    for room in (0, 1500, 4000):
        journal.bytes_max = journal.used + room + SEALING_BYTES
        journal.tried = {}
        plan = finish(_choose(robot.tally._ledger))
        assert (plan is None) == (room == 0)
        if plan is not None:
            assert plan[4] <= room
            # Each file has a long event, so what fits into less than that is without it.
            assert plan[1] == (1 if room == 4000 else 3)
    journal.compacting = 0
    robot.tally.close()


def test_a_damaged_file_is_left_as_it_is(robot: Robot) -> None:
    robot.open()
    run(robot, workload(15, 40))
    journal = robot.tally._ledger.journal
    file = journal.list[1]
    path = Path(journal.files.path(file.name))
    data = bytearray(path.read_bytes())
    walker = Walker(journal.files, file.name)
    while (frame := walker.next()) is not None:
        if frame.major == RECORD_MAJOR and walker.content(frame)[1] == 0:
            data[frame.end - 3] ^= 1
            break
    walker.close()
    path.write_bytes(bytes(data))
    run(robot, workload(16, 60))
    assert robot.tally.health.faults.get("journal:read", 0) >= 1
    assert file.level == 0 and file in journal.list
    assert journal.list[0].level > 0 and journal.list[2].level > 0
    robot.tally.close()
