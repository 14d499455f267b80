"""The power goes at every operation of a device whose key counts, intent and raise included (F25).

A cut is no rollback: the epoch goes on, the chip is never ahead of what is on flash, and nothing
that left the device is contradicted.
"""

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from _counter import SteppingClock
from support.counters import MoodyCounter
from support.powercut import CutFiles, CutKey, CutUplink, Power, PowerCutError, WrongOrderError
from support.station import Fleet, Station, read_credential
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder, raising
from tallystick.recorder.counting import Counting

MINUTE_MS = 60_000


class CutCounter(MoodyCounter):
    """A real counter; the power may go before the chip counts, or after."""

    def __init__(self, path: str, power: Power, files: CutFiles) -> None:
        super().__init__(path)
        self.power = power
        self.files = files

    def read(self) -> int:
        self.power.cut()
        return super().read()

    def begin(self) -> None:
        self.power.cut()
        super().begin()

    def count(self) -> None:
        if not self.files.holds(intent_of(self.stored() + 1)):
            raise WrongOrderError("raised before its intent was synced")
        self.power.cut()
        super().count()
        self.power.cut()


def intent_of(value: int) -> bytes:
    """How the frame of an intent begins, its credit aside (recorder/frames.py)."""
    from tallystick.evidence.cbor import encode

    return bytes((0x84, 7)) + encode(value)


class Life:
    """A device through several boots of an hour or so."""

    def __init__(self, folder: Path) -> None:
        fleet = Fleet(folder)
        self.config: dict[str, Any] = fleet.device(
            "one", journal_bytes=65536, checkpoint_records=2, wait_s=0.05
        )
        self.station = Station(fleet, read_credential(self.config))
        self.number = 0
        self.operations = 0
        self.rollbacks = 0

    def boot(self, cut_at: int | None, seed: int, *, rounds: int = 6) -> bool:
        power = Power(cut_at, seed)
        files = CutFiles(self.config["journal"], power)
        signer = Signer.from_uri(self.config["key"])
        signer.__class__ = CutKey
        assert isinstance(signer, CutKey)
        signer.power = power
        signer.files = files
        counter = CutCounter(str(Path(self.config["journal"]).parent / "counter"), power, files)
        signer.counter = lambda: counter  # type: ignore[method-assign]
        link = CutUplink(files)
        try:
            self._run(link, files, signer, rounds)
        except PowerCutError:
            self._deliver(link)
            files.lose()
        self.operations = power.count
        return not power.off

    def _run(self, link: CutUplink, files: CutFiles, signer: CutKey, rounds: int) -> None:
        clock = SteppingClock()
        tally = Recorder.open(
            self.config, uplink=link, signer=signer, clock=clock, background=False, files=files
        )
        try:
            for _ in range(rounds):
                self.number += 1
                tally.decision("m@1", {"n": self.number})
                clock.now += 20 * MINUTE_MS
                for _ in range(30):
                    tally.step()
                    self._deliver(link)
        finally:
            self.rollbacks += tally.health.faults.get("counter:rollback", 0)
            self.rollbacks += tally.health.faults.get("counter:behind", 0)
        tally.close()

    def _deliver(self, link: CutUplink) -> None:
        for message in link.take():
            for answer in self.station.answer(message):
                link.deliver(answer)

    def check(self) -> None:
        assert self.boot(None, 0)
        assert self.boot(None, 0)
        assert self.rollbacks == 0, "a power cut was taken for a rollback"
        assert len(self.station.trees) == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_cut_at_every_operation(tmp_path: Path) -> None:
    whole = Life(tmp_path / "whole")
    assert whole.boot(None, 0)
    before = whole.operations
    assert whole.boot(None, 0)
    whole.check()
    assert before > 60
    chip = tmp_path / "whole" / "one" / "counter"
    assert int(chip.read_text()) >= 7
    for at in range(1, before + 1):
        life = Life(tmp_path / str(at))
        assert not life.boot(at, seed=at)
        life.check()
        shutil.rmtree(tmp_path / str(at))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_cut_after_cut(tmp_path: Path) -> None:
    chance = random.Random(5)
    for run in range(25):
        life = Life(tmp_path / str(run))
        for boot in range(8):
            life.boot(chance.randrange(1, 110), seed=run * 10 + boot)
        life.check()


def test_a_raise_before_the_sync_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard bites: without the sync of the intent a power cut looks like a rollback."""
    honest = raising.step

    def hasty(counting: Counting, now_ms: int) -> bool:
        counting.synced = True
        return honest(counting, now_ms)

    monkeypatch.setattr(raising, "step", hasty)
    with pytest.raises(WrongOrderError, match="raised before"):
        Life(tmp_path / "order").boot(None, 0)
    monkeypatch.setattr(CutFiles, "holds", lambda _self, _data: True)
    found = 0
    for at in range(10, 60, 2):
        life = Life(tmp_path / str(at))
        life.boot(at, seed=at)
        life.boot(None, 0)
        found += life.rollbacks
    assert found
