"""A robot with a journal of the least size, checked against a naive log and the real gateway."""

import random
from pathlib import Path
from typing import Any

import pytest

from support.powercut import CutFiles, Power, PowerCutError
from support.realgateway import RealGateway, given_up
from tallystick.evidence import event
from tallystick.evidence.tree import root_of
from tallystick.recorder import Recorder
from tallystick.recorder.core import Log
from tallystick.recorder.files import Files
from tallystick.recorder.frames import LEAF, RECORD_MAJOR, SUBTREE
from tallystick.recorder.walking import Walker

SETTINGS = {"journal_bytes": 16384, "checkpoint_records": 12, "checkpoint_s": 1, "wait_s": 0.05}
# The longest that anything here takes to become idle.
ROUNDS_MAX = 3000


class Clock:
    """Time passes a millisecond a question, so that a run is the same each time."""

    def __init__(self) -> None:
        self.now = 0

    def uptime_ms(self) -> int:
        self.now += 1
        return self.now

    def wall(self) -> None:
        return None


class Robot:
    """A device through several boots; `leaves` is what a naive log of it would be."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.link = RealGateway(folder)
        self.link.plugged = False
        self.config = self.link.config(**SETTINGS)
        self.leaves: dict[int, bytes] = {}
        self.claims: dict[int, bool] = {}
        self.operations = 0
        self.number = 0
        added = Log.added

        def spied(log: Log, record: bytes) -> int:
            self.leaves[log.tree.size] = log.leaf
            self.claims[log.tree.size] = record[1] == 1
            return added(log, record)

        monkeypatch.setattr(Log, "added", spied)

    def open(self, cut_at: int | None = None, seed: int = 0, files: Files | None = None) -> None:
        self.power = Power(cut_at, seed)
        self.files = files or CutFiles(self.config["journal"], self.power)
        self.tally: Any = Recorder.open(
            self.config,
            uplink=self.link,
            signer=self.link.device.signer,
            clock=Clock(),
            background=False,
            files=self.files,
        )

    def boot(self, steps: list[tuple[str, int]], cut_at: int | None, seed: int = 0) -> bool:
        """Open and record these; whether it came to its end."""
        try:
            self.open(cut_at, seed)
            for what, size in steps:
                self.record(what, size)
                self.work()
            self.tally.close()
        except PowerCutError:
            assert isinstance(self.files, CutFiles)
            self.files.lose()
        self.operations = self.power.count
        return not self.power.off

    def record(self, what: str, size: int) -> None:
        self.number += 1
        if what == "event":
            self.tally.event("app.docked", n=self.number, blob=bytes(size))
        elif what == "claim":
            self.tally.claim(
                "handover@1",
                task=f"order-{self.number}",
                role="giver",
                claim="released",
                peers={"receiver": bytes(32)},
                wait=False,
                item="p" * (size // 4),
                position_m=["1.5", 2],
            )
        else:
            self.tally.decision("m@1", {"n": self.number, "blob": bytes(size)})

    def work(self) -> None:
        for _ in range(ROUNDS_MAX):
            if not self.tally.poll(1):
                return

    def check(self) -> int:
        """All that the docstring says, of what lies in the journal; how many are elided."""
        ledger = self.tally._ledger
        journal, log = ledger.journal, ledger.log
        at = journal.list[0].first
        elided = told = used = 0
        for file in journal.list:
            assert (file.epoch, file.first) == (log.epoch, at)
            # A write that failed may have left a part, which the next one cuts.
            assert journal.files.size(file.name) == file.size or journal.broken
            used += file.size
            walker = Walker(journal.files, file.name)
            while walker.at < file.size and (frame := walker.next()) is not None:
                if frame.major == RECORD_MAJOR:
                    assert frame.check == self.leaves[at][:4]
                    content = walker.content(frame)
                    if content[1] == 2:
                        said = event.parse(content)
                        told += given_up(said.details) if said.event == "gap" else 0
                    at += 1
                    continue
                values = walker.values(frame)
                if values[0] in (LEAF, SUBTREE):
                    level = values[1] if values[0] == SUBTREE else 0
                    assert at % (1 << level) == 0
                    covered = [self.leaves[at + i] for i in range(1 << level)]
                    claims = sum(self.claims[at + i] for i in range(1 << level))
                    if values[0] == SUBTREE:
                        assert values[2:] == [root_of(covered), claims]
                    else:
                        assert (values[1], values[2] == 1) == (covered[0], bool(claims))
                    elided += 1 << level
                    at += 1 << level
            walker.close()
        assert at == log.tree.size
        assert root_of([self.leaves[i] for i in range(at)]) == log.tree.root()
        assert used == journal.used <= journal.bytes_max
        if not journal.list[0].first:
            assert elided == told + sum(log.untold[2:]), "elided, and told"
        return elided

    def leftover(self) -> int:
        """Files that are none of the journal's."""
        journal = self.tally._ledger.journal
        names = [name for name in journal.files.names() if name.endswith(".tally")]
        return len(names) - len(journal.list)

    def deliver(self) -> None:
        """Plugged in, all of it reaches the gateway's custody."""
        self.link.plug()
        for _ in range(ROUNDS_MAX):
            self.tally._ledger.clock.now += 50
            self.tally.poll(1)
            self.link.exchange()
            if not self.tally.backlog():
                break
        assert not self.tally.backlog(), self.tally.health
        assert self.tally.health.refused == {}
        assert set(self.link.gateway.refused()) <= {"replayed"}
        log = self.tally._ledger.log
        assert self.link.gateway.tracks()[0][:2] == (0, log.custody[0])
        assert len(self.link.gateway.tracks()) == 1


def workload(seed: int, count: int) -> list[tuple[str, int]]:
    chance = random.Random(seed)
    kinds = ["decision"] * 12 + ["event", "claim"]
    return [(chance.choice(kinds), chance.randrange(10, 120)) for _ in range(count)]
