"""F01, F09: a disk that drops what it could not sync, and calls the next sync a success.

On LittleFS the real one does so: tests/powercut/test_faults.py. Here it is a folder of files.
"""

import os
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from support.station import Fleet, Station, read_credential
from tallystick.evidence import record
from tallystick.evidence.decision import Decision
from tallystick.evidence.event import Event
from tallystick.recorder import Recorder
from tallystick.recorder.files import Files
from tallystick.recorder.memory_uplink import MemoryUplink


class ForgetfulFiles(Files):
    """The k-th sync fails, `count` times; what was not synced is gone then, from all files."""

    def __init__(self, folder: str, fails_at: int, count: int) -> None:
        super().__init__(folder)
        self.fails = range(fails_at, fails_at + count)
        self.syncs = 0
        self.kept: dict[str, int] = {name: self.size(name) for name in self.names()}

    def sync(self, handle: BinaryIO) -> None:
        self.syncs += 1
        if self.syncs in self.fails:
            for name in self.names():
                os.truncate(self.path(name), min(self.kept.get(name, 0), self.size(name)))
            raise OSError(5, "EIO")
        super().sync(handle)
        name = Path(f"/proc/self/fd/{handle.fileno()}").readlink().name
        self.kept[name] = os.fstat(handle.fileno()).st_size

    def rename(self, name: str, to: str) -> None:
        super().rename(name, to)
        self.kept[to] = self.kept.pop(name)


class Clock:
    """A second passes at each question."""

    now = 0

    def uptime_ms(self) -> int:
        self.now += 200
        return self.now

    def wall(self) -> None:
        return None


def run(config: dict[str, Any], station: Station, files: Files | None, first: int) -> Recorder:
    link = MemoryUplink()
    tally = Recorder.open(config, uplink=link, clock=Clock(), background=False, files=files)

    def turn(times: int) -> None:
        for _ in range(times):
            tally.step()
            for message in link.take():
                for answer in station.answer(message):
                    link.deliver(answer)

    for number in range(first, first + 12):
        tally.decision("m@1", {"n": number}, urgent=number % 5 == 4)
        turn(4)
    turn(300)
    assert not tally.backlog(), tally.health.as_dict()
    return tally


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("fails_at", range(1, 19))
def test_what_a_failed_sync_took_is_told_and_never_signed(
    tmp_path: Path, fails_at: int, count: int
) -> None:
    fleet = Fleet(tmp_path)
    config = fleet.device("one", checkpoint_records=3, journal_bytes=16384, wait_s=2)
    # A station refuses whatever contradicts what it has.
    station = Station(fleet, read_credential(config))
    files = ForgetfulFiles(config["journal"], fails_at, count)
    tally = run(config, station, files, 0)
    assert tally.health.faults.get("flash:sync"), "no sync failed"
    tally.close()
    run(config, station, None, 100).close()
    (items,) = station.records.values()
    found = [record.parse(item) for item in items]
    numbers = [one.inputs["n"] for one in found if isinstance(one, Decision)]
    assert numbers == sorted(set(numbers))
    assert numbers[-12:] == list(range(100, 112))
    gaps = [one.details for one in found if isinstance(one, Event) and one.event == "gap"]
    missing = 24 - len(numbers)
    assert missing <= sum(gap["dropped"] for gap in gaps if gap["reason"] == "flash")
    boots = [one.details["boot"] for one in found if isinstance(one, Event) and one.event == "boot"]
    assert boots == [1, 2]
