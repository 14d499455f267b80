"""The power goes at every operation: writing, syncing, signing, sending (F01, F02, F24, F25).

Whatever left the device is checked by an honest gateway, which fails at the first contradiction.
"""

import random
from pathlib import Path
from typing import Any

import pytest

from support.powercut import (
    CutFiles,
    CutKey,
    CutUplink,
    Power,
    PowerCutError,
    WrongOrderError,
)
from support.station import Fleet, Station, read_credential
from tallystick.evidence import checkpoint, record
from tallystick.evidence.claim import Claim
from tallystick.evidence.decision import Decision
from tallystick.evidence.errors import Unverified
from tallystick.evidence.half import parse as parse_half
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder

PEER = bytes(range(32))


class Clock:
    """Time passes a millisecond a question, so that a run is the same each time."""

    def __init__(self) -> None:
        self.now = 0

    def uptime_ms(self) -> int:
        self.now += 1
        return self.now

    def wall(self) -> None:
        return None


class Life:
    """A device through several boots, and what it must not lose."""

    def __init__(self, fleet: Fleet, config: dict[str, Any]) -> None:
        self.config = config
        self.station = Station(fleet, read_credential(config))
        self.acknowledged: list[int] = []
        self.claimed: list[str] = []
        self.number = 0
        self.operations = 0

    def boot(self, cut_at: int | None, seed: int) -> bool:
        """One boot, cut at its k-th operation or run to its end; whether it came to its end."""
        power = Power(cut_at, seed)
        signer = Signer.from_uri(self.config["key"])
        signer.__class__ = CutKey
        assert isinstance(signer, CutKey)
        signer.power = power
        signer.files = files = CutFiles(self.config["journal"], power)
        link = CutUplink(files)
        try:
            self._run(link, files, signer)
        except PowerCutError:
            self._deliver(link)
            files.lose()
        self.operations = power.count
        return not power.off

    def _run(self, link: CutUplink, files: CutFiles, signer: CutKey) -> None:
        tally = Recorder.open(
            self.config, uplink=link, signer=signer, clock=Clock(), background=False, files=files
        )
        for step in range(5):
            for _ in range(3):
                self._decide(tally, urgent=False)
            if step % 2:
                self._claim(tally)
            else:
                self._decide(tally, urgent=True)
                self.acknowledged.append(self.number)
            for _ in range(8):
                tally.poll(1)
                self._deliver(link)
        tally.close()

    def _decide(self, tally: Recorder, *, urgent: bool) -> None:
        self.number += 1
        tally.decision("m@1", {"n": self.number}, output="go", urgent=urgent)

    def _claim(self, tally: Recorder) -> None:
        self.number += 1
        task = f"order-{self.number}"
        half = tally.claim(
            "handover@1",
            task=task,
            role="giver",
            claim="released",
            peers={"receiver": PEER},
            item="pallet",
            position_m=["1.5", 2],
        )
        # The half leaves at once: its checkpoint must never be contradicted either.
        parsed = parse_half(half)
        self.station._head(checkpoint.parse(parsed.checkpoint).verify(self.station.key))
        self.claimed.append(task)

    def _deliver(self, link: CutUplink) -> None:
        for message in link.take():
            for answer in self.station.answer(message):
                link.deliver(answer)

    def records(self) -> list[Any]:
        return [record.parse(item) for items in self.station.records.values() for item in items]

    def check(self) -> None:
        """After a last boot that was not cut everything is there, once and in order."""
        config = {**self.config, "checkpoint_s": 0.001}
        files = CutFiles(config["journal"], Power(None, 0))
        link = CutUplink(files)
        tally = Recorder.open(config, uplink=link, clock=Clock(), background=False, files=files)
        for _ in range(3000):
            tally.poll(1)
            self._deliver(link)
            if not tally.backlog():
                break
        assert not tally.backlog(), tally.health.as_dict()
        assert not tally.health.refused
        tally.close()
        found = self.records()
        numbers = [one.inputs["n"] for one in found if isinstance(one, Decision)]
        assert numbers == sorted(set(numbers)), "twice, or out of order"
        lost = set(self.acknowledged) - set(numbers)
        assert not lost, f"acknowledged and lost: {lost}"
        tasks = [one.interaction for one in found if isinstance(one, Claim)]
        assert not set(self.claimed) - set(tasks)


def new_life(folder: Path, **settings: Any) -> Life:
    fleet = Fleet(folder)
    # Small files, so that rotating and freeing happen within a run.
    settings = {"journal_bytes": 65536, "checkpoint_records": 4, **settings}
    return Life(fleet, fleet.device("one", **settings))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_cut_at_every_operation_of_the_first_boot(tmp_path: Path) -> None:
    whole = new_life(tmp_path / "whole")
    assert whole.boot(None, 0)
    whole.check()
    operations = whole.operations
    assert operations > 70
    for at in range(1, operations + 1):
        life = new_life(tmp_path / str(at))
        assert not life.boot(at, seed=at)
        life.check()
        assert len(life.station.trees) == 1, "a power cut must not end an epoch"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_cut_after_cut(tmp_path: Path) -> None:
    chance = random.Random(2)
    for run in range(40):
        life = new_life(tmp_path / str(run))
        for boot in range(6):
            life.boot(chance.randrange(1, 90), seed=run * 10 + boot)
        life.check()
        assert len(life.station.trees) == 1


@pytest.mark.slow
def test_a_cut_at_every_operation_of_a_later_boot(tmp_path: Path) -> None:
    # A boot that reads, repairs and completes what another one left.
    for at in range(1, 25):
        life = new_life(tmp_path / str(at))
        life.boot(60 + at, seed=at)
        life.boot(at, seed=at + 1)
        life.check()
        assert len(life.station.trees) == 1


def test_the_guard_bites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder that signs, or sends, before it syncs is found by these tests."""
    from tallystick.recorder.ledger import Ledger

    def signs_early(self: Ledger, now_ms: int) -> bool:
        self._durable = self.log.ordinal
        return honest(self, now_ms)

    def sends_early(self: Ledger, now_ms: int) -> bool:
        self.sendable = self.log.signed
        return honest(self, now_ms)

    honest = Ledger.step
    for broken, said in ((signs_early, "signed before"), (sends_early, "sent before")):
        monkeypatch.setattr(Ledger, "step", broken)
        with pytest.raises(WrongOrderError, match=said):
            new_life(tmp_path / said).boot(None, 0)


def test_an_index_is_used_again_when_what_left_was_not_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the syncs a power cut makes a device contradict itself, and the gateway sees it."""
    monkeypatch.setattr(CutFiles, "holds", lambda _self, _data: True)
    monkeypatch.setattr(CutFiles, "_synced", lambda _self, _handle: None)
    seen = set()
    for at in range(40, 100, 3):
        life = new_life(tmp_path / str(at))
        life.boot(at, seed=at)
        try:
            life.check()
        except (AssertionError, Unverified) as error:
            seen.add(getattr(error, "reason", "lost"))
    assert "lost" in seen or "fork" in seen


def test_a_torn_tail_is_cut(tmp_path: Path) -> None:
    life = new_life(tmp_path)
    life.boot(None, 0)
    journal = Path(life.config["journal"])
    newest = max(journal.glob("*.tally"))
    whole = newest.read_bytes()
    for cut in (1, 3, 10, 40):
        newest.write_bytes(whole + b"\x01\x02\x03\x04\x58\xff" + bytes(cut))
        files = CutFiles(str(journal), Power(None, 0))
        tally = Recorder.open(life.config, background=False, files=files)
        assert tally._ledger.journal.torn_bytes == cut + 6
        tally.close()
    life.check()
    assert len(life.station.trees) == 1


def test_damage_before_a_signature_opens_the_next_epoch(tmp_path: Path) -> None:
    life = new_life(tmp_path, checkpoint_records=1000, journal_bytes=1 << 20)
    life.boot(None, 0)
    journal = Path(life.config["journal"])
    newest = max(journal.glob("*.tally"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(bytes(data))
    tally = Recorder.open(life.config, background=False)
    assert tally.health.faults == {"journal:damaged": 1}
    epoch = tally.epoch
    assert epoch not in life.station.trees
    tally.close()
    life.check()
    assert set(life.station.trees) >= {epoch}


def test_every_flipped_bit_of_a_journal(tmp_path: Path) -> None:
    """Whatever the flash turns a bit into: the journal opens and contradicts nothing."""
    import shutil

    life = new_life(tmp_path / "one")
    life.boot(None, 0)
    journal = Path(life.config["journal"])
    kept = tmp_path / "kept"
    shutil.copytree(journal, kept)
    newest = max(journal.glob("*.tally")).name
    size = (kept / newest).stat().st_size
    for at in range(0, size, 11):
        shutil.rmtree(journal)
        shutil.copytree(kept, journal)
        data = bytearray((kept / newest).read_bytes())
        data[at] ^= 1 << (at % 8)
        (journal / newest).write_bytes(bytes(data))
        life.number += 1
        tally = Recorder.open(life.config, background=False, clock=Clock())
        tally.decision("m@1", {"n": life.number}, urgent=True)
        log = tally._ledger.log
        for head in life.station.heads:
            if head.epoch == log.epoch:
                assert head.size < log.sealed_size or head.root == log.sealed_root
                assert head.size <= log.sealed_size
        tally.close()
