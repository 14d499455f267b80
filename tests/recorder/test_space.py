"""A journal that fills up says so in good time, and when it has room again; each seldom."""

from pathlib import Path
from typing import Any

import pytest

from recorder.test_faults import Clock, events
from recorder.test_recorder import Site
from support.station import Fleet, Station, read_credential
from tallystick.recorder import Recorder
from tallystick.recorder.memory_uplink import MemoryUplink

MINUTE_MS = 60_000


class Filling(Site):
    """A recorder with a clock of the test, whose gateway answers when the test lets it."""

    def __init__(self, fleet: Fleet) -> None:
        self.config = fleet.device("one", journal_bytes=131_072, checkpoint_records=8, interval_s=1)
        self.station = Station(fleet, read_credential(self.config))
        self.link = MemoryUplink()
        self.clock = Clock()
        self.tally = Recorder.open(
            self.config, uplink=self.link, clock=self.clock, background=False
        )
        self.journal = self.tally._ledger.journal

    def percent(self) -> int:
        return self.journal.used * 100 // self.journal.limit

    def fill(self, percent: int) -> None:
        while self.percent() < percent:
            self.tally.decision("m@1", {"picture": bytes(600)})
            for _ in range(6):
                self.tally.poll(1)

    def idle(self, passed_ms: int = MINUTE_MS) -> None:
        """A checkpoint after `passed_ms`."""
        self.clock.now += passed_ms
        for _ in range(20):
            self.tally.poll(1)

    def told(self) -> list[tuple[str, int]]:
        found = events(self.journal.files, "space")
        for one in found:
            share = one["used_bytes"] * 100 // one["limit_bytes"]
            assert one["percent"] == min(share, 100)
        return [(one["state"], one["percent"]) for one in found]


@pytest.fixture
def site(tmp_path: Path) -> Any:
    site = Filling(Fleet(tmp_path / "fleet"))
    yield site
    site.tally.close()


def test_both_shares_and_the_relief_are_told(site: Filling) -> None:
    site.fill(79)
    site.idle()
    assert site.told() == []
    site.fill(82)
    site.idle()
    assert [state for state, _ in site.told()] == ["low"]
    site.idle()
    site.fill(90)
    site.idle()
    assert len(site.told()) == 1
    site.fill(96)
    site.idle()
    assert [state for state, _ in site.told()] == ["low", "low"]
    assert 80 <= site.told()[0][1] < 95 <= site.told()[1][1]
    site.idle()
    assert len(site.told()) == 2
    site.settle()
    assert site.percent() < 70
    site.idle()
    assert site.told()[-1][0] == "relieved" and site.told()[-1][1] < 70
    count = len(site.told())
    site.idle()
    assert len(site.told()) == count


def test_a_level_that_comes_and_goes_is_told_once_a_minute(site: Filling) -> None:
    site.fill(82)
    site.idle()
    assert len(site.told()) == 1
    journal = site.journal
    used = journal.used
    for _ in range(10):
        journal.used = 0
        site.idle(1_100)
        journal.used = used
        site.idle(1_100)
    # The first of twenty changes in half a minute.
    assert [state for state, _ in site.told()] == ["low", "relieved"]
    site.idle()
    assert [state for state, _ in site.told()] == ["low", "relieved", "low"]
