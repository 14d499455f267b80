"""The hardware counter against rollback: every relation of chip and journal, and its budget."""

import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from _counter import SteppingClock, with_counter
from recorder.test_drivers import faults
from recorder.test_faults import events, records_of
from support.counters import MoodyCounter
from support.station import Fleet, Station, read_credential
from tallystick.evidence import checkpoint
from tallystick.evidence.cbor import decode
from tallystick.evidence.decision import Decision
from tallystick.evidence.errors import Unverified
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder, epochs
from tallystick.recorder.counting import COST_MS, HOUR_MS
from tallystick.recorder.files import Files
from tallystick.recorder.frames import CONTROL_MAJOR, COUNTER, PAYLOAD
from tallystick.recorder.memory_uplink import MemoryUplink
from tallystick.recorder.walking import Walker

MINUTE_MS = 60_000
LIMIT = 2_097_151


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "fleet")


class Robot:
    """A device whose key counts, through boots; `image()` and `put_back()` its flash."""

    def __init__(self, fleet: Fleet, **settings: Any) -> None:
        self.config = fleet.device("one", wait_s=0.05, **{"journal_bytes": 1 << 22, **settings})
        self.station = Station(fleet, read_credential(self.config))
        self.journal = Path(self.config["journal"])
        self.chip = MoodyCounter(str(self.journal.parent / "counter"), LIMIT)
        self.files = Files(self.config["journal"])
        self.link: MemoryUplink | None = None
        self.clock = SteppingClock()
        self.number = 0

    def boot(self, *, linked: bool = False) -> Recorder:
        self.clock = SteppingClock()
        self.link = MemoryUplink() if linked else None
        signer = with_counter(Signer.from_uri(self.config["key"]), self.chip)
        self.tally = Recorder.open(
            self.config, uplink=self.link, signer=signer, clock=self.clock, background=False
        )
        return self.tally

    def run(self, minutes: int, *, every_ms: int = MINUTE_MS) -> None:
        """So many minutes pass; a decision in each, signed."""
        for _ in range(minutes * MINUTE_MS // every_ms):
            self.number += 1
            self.tally.decision("m@1", {"n": self.number})
            self.clock.now += every_ms
            self.step()

    def step(self, rounds: int = 40) -> None:
        for _ in range(rounds):
            self.tally.step()
            if self.link is not None:
                for message in self.link.take():
                    for answer in self.station.answer(message):
                        self.link.deliver(answer)

    def life(self, minutes: int, *, linked: bool = False) -> Recorder:
        """A boot, some minutes, and its end."""
        self.boot(linked=linked)
        self.run(minutes)
        self.tally.close()
        return self.tally

    def image(self, name: str = "image") -> Path:
        target = self.journal.parent / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.journal, target)
        return target

    def put_back(self, image: Path) -> None:
        shutil.rmtree(self.journal)
        shutil.copytree(image, self.journal)

    def raise_chip(self, by: int) -> None:
        self.chip.path.write_text(str(self.chip.stored() + by))

    @property
    def checkpoints(self) -> list[int | None]:
        """The counters of the payloads that are on flash, in order."""
        names = [name for name in sorted(self.files.names()) if name.endswith(".tally")]
        frames = [frame for name in names for frame in controls(self, name)]
        return [decode(frame[2])[8] for frame in frames if frame[0] == PAYLOAD]


def controls(robot: Robot, name: str) -> list[list[Any]]:
    """Frames of ours in a file of the journal."""
    walker = Walker(robot.files, name)
    found = []
    while (frame := walker.next()) is not None:
        if frame.major == CONTROL_MAJOR:
            found.append(walker.values(frame))
    walker.close()
    return found


# In order.


def test_it_is_raised_at_boot_and_each_hour(fleet: Fleet) -> None:
    robot = Robot(fleet)
    # The first boot of a new journal has nothing saved up.
    tally = robot.boot()
    assert (tally.health.counter, tally.health.counter_left) == (0, LIMIT)
    assert tally.health.counter_years == LIMIT * COST_MS // 31_557_600_000 == 59
    robot.run(14)
    assert robot.chip.read() == 0
    robot.run(2)
    assert robot.chip.read() == 1
    robot.run(57)
    assert robot.chip.read() == 1
    robot.run(60 * 4 + 30)
    assert robot.chip.read() == 6
    tally.close()
    tally = robot.boot()
    robot.run(1)
    assert robot.chip.read() == 7
    robot.run(58)
    assert robot.chip.read() == 7
    tally.close()
    assert tally.health.faults == {}
    assert (tally.health.counter, tally.health.counter_left) == (7, LIMIT - 7)
    assert [one["value"] for one in events(robot.files, "counter")] == list(range(8))
    counters = robot.checkpoints
    assert counters == sorted(counters, key=lambda one: one or 0)
    assert set(counters) == set(range(8))


def test_the_intent_is_on_flash_before_the_raise(fleet: Fleet) -> None:
    robot = Robot(fleet)
    robot.life(40)
    robot.boot()
    robot.chip.broken = "begin"
    robot.run(5)
    assert robot.tally._ledger.log.intent == 2
    assert robot.chip.read() == 1
    robot.tally._ledger.journal.files.unlock()  # as a power cut does
    robot.chip.broken = ""
    # Counter = intent - 1: it is raised without another intent, and nothing is suspected.
    epoch = robot.tally.epoch
    tally = robot.life(5)
    assert tally.epoch == epoch
    assert tally.health.faults == {}
    assert (robot.chip.read(), tally._ledger.log.intent) == (2, 2)


def test_no_image_older_than_the_last_raise_is_taken(fleet: Fleet) -> None:
    robot = Robot(fleet)
    robot.life(30, linked=True)
    images = []
    for hour in range(4):
        images.append(robot.image(f"image-{hour}"))
        robot.life(60, linked=True)
    epoch = robot.tally.epoch
    seen = {epoch}
    for image in images:
        robot.put_back(image)
        tally = robot.life(2, linked=True)
        assert tally.epoch not in seen
        seen.add(tally.epoch)
        assert tally.health.faults == {"counter:rollback": 1}
        found = {one["reason"] for one in events(robot.files, "epoch")}
        assert "rollback" in found
        assert faults(robot.files, "counter") == ["rollback"]
    # The gateway that saw everything was never contradicted, and has the new epochs too.
    assert seen <= set(robot.station.trees)


def test_the_intent_goes_from_file_to_file(fleet: Fleet) -> None:
    robot = Robot(fleet, journal_bytes=65536, checkpoint_records=1)
    robot.life(40, linked=True)
    robot.life(55, linked=True)
    newest = max(name for name in robot.files.names() if name.endswith(".tally"))
    # It was begun after the last raise, so only its header tells of the intent.
    assert COUNTER not in [frame[0] for frame in controls(robot, newest)]
    image = robot.image()
    credit = robot.tally._ledger.log.credit_ms
    robot.boot()
    assert abs(credit - robot.tally._ledger.log.credit_ms) < 3 * MINUTE_MS
    robot.run(20)
    robot.tally.close()
    robot.put_back(image)
    assert robot.boot().health.faults == {"counter:rollback": 1}


def test_a_new_epoch_names_the_head_and_carries_the_counter(fleet: Fleet) -> None:
    robot = Robot(fleet)
    robot.life(30)
    image = robot.image()
    head = robot.tally._ledger.log
    robot.life(60)
    robot.put_back(image)
    before = robot.chip.read()
    tally = robot.boot()
    assert tally.health.counter == before
    previous = [one for one in events(robot.files, "epoch") if one["reason"] == "rollback"]
    assert previous[0]["previous"][0] == head.epoch
    assert previous[0]["previous"][1] <= head.sealed_size
    robot.run(1)
    tally.flush()
    # Heads of the left epoch are older: none has a higher counter than the new one's first.
    mine = [one for one in robot.checkpoints if one is not None]
    assert mine[-1] >= before


def test_an_image_of_this_period_looks_like_any_boot(fleet: Fleet) -> None:
    """The counter cannot tell; the welcome of a gateway that knows more can (F24, A02)."""
    robot = Robot(fleet)
    robot.life(30, linked=True)
    robot.boot(linked=True)
    robot.run(5)
    robot.tally.flush()
    image = robot.image()
    robot.run(20)
    robot.tally.close()
    assert robot.chip.read() == 2
    robot.put_back(image)
    tally = robot.boot()
    assert tally.health.faults == {}
    tally.close()
    robot.put_back(image)
    tally = robot.boot(linked=True)
    epoch = tally.epoch
    robot.run(3)
    assert tally.epoch != epoch
    assert tally.health.faults == {"journal:older": 1}
    assert tally.health.counter == robot.chip.read() == 2
    # The new epoch goes on counting where the old one was.
    robot.run(70)
    assert robot.checkpoints[-1] == robot.chip.read() > 2


def test_a_lost_journal_is_no_rollback(fleet: Fleet) -> None:
    """F24: the key survives, and so does its counter."""
    robot = Robot(fleet)
    robot.life(200, linked=True)
    epoch = robot.tally.epoch
    raised = robot.chip.read()
    assert raised > 2
    shutil.rmtree(robot.journal)
    tally = robot.life(3, linked=True)
    assert tally.epoch != epoch
    assert tally.health.faults == {}
    assert tally.health.counter == raised
    assert events(robot.files, "epoch") == [{"previous": None, "reason": "new"}]


def test_a_damaged_journal_takes_the_counter_as_it_is(fleet: Fleet) -> None:
    robot = Robot(fleet)
    robot.life(100)
    newest = max(robot.journal.glob("*.tally"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 3] ^= 1
    newest.write_bytes(bytes(data))
    tally = robot.boot()
    assert tally.health.faults == {"journal:damaged": 1}
    assert tally.health.counter == robot.chip.read()
    tally.close()


def test_what_a_damaged_journal_knew_is_no_intent(fleet: Fleet) -> None:
    robot = Robot(fleet)
    robot.life(300)
    newest = max(robot.journal.glob("*.tally"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 3] ^= 1
    newest.write_bytes(bytes(data))
    robot.chip.broken = "read"
    tally = robot.boot()
    assert set(tally.health.faults) == {"journal:damaged", "counter:no-answer"}
    tally.close()
    robot.chip.broken = ""
    tally = robot.boot()
    assert tally.health.faults == {}
    assert tally.health.counter == robot.chip.read() > 2


def test_a_journal_from_before_the_counter_takes_it(fleet: Fleet) -> None:
    robot = Robot(fleet)
    plain = Recorder.open(robot.config, background=False)
    plain.decision("m@1")
    plain.close()
    robot.raise_chip(40)
    tally = robot.boot()
    assert tally.epoch == plain.epoch
    assert (tally.health.counter, tally.health.faults) == (40, {})
    robot.run(20)
    assert robot.chip.read() == 41
    tally.close()


# A chip that is not as it should be.


def test_a_counter_that_counted_back(fleet: Fleet) -> None:
    robot = Robot(fleet)
    robot.life(200)
    epoch = robot.tally.epoch
    robot.chip.path.write_text("1")
    tally = robot.boot()
    assert tally.epoch == epoch
    assert tally.health.faults == {"counter:behind": 1}
    raised = robot.chip.raised
    robot.run(200)
    assert tally.flush()
    assert robot.chip.raised == raised
    assert robot.checkpoints[-1] is None
    tally.close()
    assert faults(robot.files, "counter") == ["behind"]


def test_a_key_without_its_counter(fleet: Fleet) -> None:
    robot = Robot(fleet)
    robot.life(100)
    plain = Recorder.open(robot.config, background=False)
    assert plain.health.faults == {"counter:missing": 1}
    plain.decision("m@1", urgent=True)
    assert plain.flush()
    plain.close()
    assert robot.checkpoints[-1] is None
    # What it knew stays: the next boot compares again.
    tally = robot.life(2)
    assert tally.health.faults == {}
    robot.raise_chip(1)
    assert robot.life(2).health.faults == {"counter:rollback": 1}


def test_a_counter_that_cannot_be_read_holds_signatures_only(fleet: Fleet) -> None:
    robot = Robot(fleet)
    robot.life(60)
    image = robot.image()
    robot.life(60)
    for spoiled in (False, True):
        if spoiled:
            robot.put_back(image)
        robot.chip.broken = "read"
        tally = robot.boot()
        epoch = tally.epoch
        signed = tally._ledger.log.signed
        robot.run(30)
        assert tally._ledger.log.signed == signed
        assert not tally.flush()
        assert not tally.health.key_ok
        assert tally.health.dropped == 0
        assert tally.health.faults["counter:no-answer"] > 5
        robot.chip.broken = ""
        robot.run(30)
        assert tally.flush()
        assert tally.health.key_ok
        # An older image is found late, and before anything of it was signed.
        assert (tally.epoch != epoch) == spoiled
        assert ("counter:rollback" in tally.health.faults) == spoiled
        tally.close()
        assert "no-answer" in faults(robot.files, "counter")
    robot.life(3, linked=True)
    assert set(robot.station.trees) >= {tally.epoch}
    counted = [one["boot"] for one in events(robot.files, "boot")]
    assert counted == sorted(counted)


def test_what_came_for_a_left_log_is_not_acted_on(fleet: Fleet) -> None:
    robot = Robot(fleet)
    tally = robot.boot(linked=True)
    robot.run(3)
    downlink = tally._downlink
    assert downlink is not None
    done = []

    def receipt() -> Generator[None, None, None]:
        yield
        done.append("kept")
        yield

    downlink._work = receipt()
    downlink.step(robot.clock.now)
    epochs.begin(tally._ledger, "rollback", None)
    downlink.step(robot.clock.now)
    downlink.step(robot.clock.now)
    assert done == []


def test_a_gateway_that_is_faster_than_the_chip(fleet: Fleet) -> None:
    robot = Robot(fleet)
    robot.life(60, linked=True)
    image = robot.image()
    robot.life(60, linked=True)
    robot.put_back(image)
    robot.chip.broken = "read"
    tally = robot.boot(linked=True)
    robot.run(5)
    assert tally.health.faults["journal:older"] == 1
    epoch = tally.epoch
    robot.chip.broken = ""
    robot.run(30)
    # The older image was left once, and the counter has nothing to add.
    assert tally.epoch == epoch
    assert "counter:rollback" not in tally.health.faults
    assert tally.health.counter == robot.chip.read()


@pytest.mark.parametrize("where", ["begin", "poll", "answer"])
def test_a_chip_that_fails_in_the_middle_of_a_raise(fleet: Fleet, where: str) -> None:
    robot = Robot(fleet)
    robot.life(300)
    before = robot.chip.read()
    tally = robot.boot()
    robot.chip.broken = where
    robot.run(3)
    assert tally.health.faults["counter:no-answer"] >= 1
    robot.chip.broken = ""
    robot.run(50)
    # Raised once for one intent, however often its answer was lost.
    assert robot.chip.read() == before + 1
    assert tally.health.counter == before + 1
    assert tally.flush()
    epoch = tally.epoch
    tally.close()
    tally = robot.life(2)
    assert tally.epoch == epoch
    assert tally.health.faults == {}


@pytest.mark.parametrize("where", ["begin", "poll"])
def test_a_counter_that_is_never_raised_stops_no_signature(fleet: Fleet, where: str) -> None:
    robot = Robot(fleet)
    robot.life(300)
    tally = robot.boot()
    robot.chip.broken = where
    robot.run(600)
    assert tally._ledger.log.unsealed <= tally._ledger.policy.records
    assert tally.flush()
    assert tally.health.key_ok
    assert tally.health.dropped == 0
    assert faults(robot.files, "counter").count("no-answer") == 1
    # Again later and later, so that it stops nothing.
    assert 5 < tally.health.faults["counter:no-answer"] < 60


def test_a_slow_counter_holds_nothing_up(fleet: Fleet) -> None:
    robot = Robot(fleet)
    robot.life(300)
    before = robot.chip.read()
    tally = robot.boot()
    robot.chip.slow_polls = 300
    robot.clock.now += 1000
    for _ in range(400):
        tally.decision("m@1", {"n": 0})
        robot.step(1)
    assert robot.chip.read() == before + 1
    assert tally.health.faults == {}
    assert tally.health.dropped == 0
    # One that never answers is given up, and read again.
    robot.chip.slow_polls = 1 << 30
    robot.run(120)
    assert tally.health.faults["counter:slow"] >= 1
    robot.chip.slow_polls = 0
    assert tally.flush()


def test_a_counter_that_somebody_else_raises_meanwhile(fleet: Fleet) -> None:
    robot = Robot(fleet)
    robot.life(300, linked=True)
    tally = robot.boot(linked=True)
    robot.run(2)
    epoch = tally.epoch
    robot.raise_chip(3)
    robot.run(120)
    assert tally.epoch != epoch
    assert tally.health.faults["counter:rollback"] == 1
    tally.close()
    assert tally.epoch in robot.station.trees


def test_a_worn_counter_is_told_and_stops_nothing(fleet: Fleet) -> None:
    robot = Robot(fleet)
    robot.chip.path.write_text(str(LIMIT - 2))
    robot.life(300)
    tally = robot.boot()
    robot.run(120)
    assert robot.chip.read() == LIMIT
    assert (tally.health.counter_left, tally.health.counter_years) == (0, 0)
    assert tally.health.faults == {"counter:worn-out": 1}
    assert tally.flush()
    assert robot.checkpoints[-1] == LIMIT
    tally.close()
    assert faults(robot.files, "counter").count("worn-out") == 2  # in the life before too


@pytest.mark.parametrize("kind", [ValueError, MemoryError, RuntimeError, OSError])
@pytest.mark.parametrize("method", ["read", "begin", "poll", "value"])
def test_a_counters_driver_may_raise_anything(
    fleet: Fleet, kind: type[Exception], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot = Robot(fleet)
    robot.life(300)

    def broken() -> int:
        raise kind("a driver's own words")

    tally = robot.boot()
    with monkeypatch.context() as patch:
        patch.setattr(robot.chip, method, broken)
        robot.run(100)
        if method == "read":
            # It is compared at boot, and after a raise that failed.
            tally.close()
            tally = robot.boot()
            robot.run(5)
    assert any(name.startswith("counter:") for name in tally.health.faults)
    robot.run(100)
    assert tally.flush()
    assert tally.health.key_ok
    assert tally.health.dropped == 0


def test_a_counter_that_gives_no_number(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    robot = Robot(fleet)
    robot.life(20)
    for wrong in (None, "7", -1, True):
        with monkeypatch.context() as patch:
            patch.setattr(robot.chip, "read", lambda wrong=wrong: wrong)
            tally = robot.boot()
            assert tally.health.faults == {"counter:bad-value": 1}
            tally.close()


# The budget.


def boots(robot: Robot, count: int, uptime_ms: int) -> int:
    """A loop of boots that end as a power cut ends them; how often the chip was raised."""
    before = robot.chip.read()
    for _ in range(count):
        robot.boot()
        robot.tally.decision("m@1", {"n": 0})
        robot.clock.now += uptime_ms
        robot.step(12)
        robot.tally._ledger.journal.files.unlock()
    return robot.chip.read() - before


def test_a_loop_of_boots_wears_nothing_out(fleet: Fleet) -> None:
    robot = Robot(fleet)
    assert boots(robot, 100, 2000) == 0
    # A day of running saves up 64 raises and no more.
    robot.boot()
    robot.run(60 * 24, every_ms=10 * MINUTE_MS)
    robot.tally.close()
    assert 60 <= boots(robot, 200, 2000) <= 65
    assert boots(robot, 100, 2000) == 0
    # A device that only ever lives for a minute saves up too.
    assert 20 <= boots(robot, 400, MINUTE_MS) <= 27


def test_a_journal_that_is_lost_at_every_boot_raises_nothing(fleet: Fleet) -> None:
    robot = Robot(fleet)
    for _ in range(30):
        assert boots(robot, 1, 10 * MINUTE_MS) == 0
        shutil.rmtree(robot.journal)


def test_what_is_saved_up_is_never_more_than_was_lived(fleet: Fleet) -> None:
    robot = Robot(fleet, checkpoint_records=2, journal_bytes=1 << 18)
    lived = 0
    for boot, minutes in enumerate((7, 50, 3, 90, 1, 1, 1, 200, 16), 1):
        robot.boot()
        robot.run(minutes)
        lived += robot.clock.now
        # Also over files that were begun and freed, and without a clean end.
        robot.tally._ledger.journal.files.unlock()
        spent = robot.chip.read() * COST_MS
        credit = robot.tally._ledger.log.credit_ms
        # All but what no checkpoint tells of.
        assert lived - 3 * MINUTE_MS * boot <= credit + spent <= lived
    again = robot.boot()
    assert again._ledger.log.credit_ms + robot.chip.read() * COST_MS <= lived + robot.clock.now


def test_hours_are_the_most_it_is_raised_by_a_device_that_runs(fleet: Fleet) -> None:
    robot = Robot(fleet)
    robot.boot()
    robot.run(60 * 48, every_ms=5 * MINUTE_MS)
    assert robot.clock.now > 48 * HOUR_MS
    assert 47 <= robot.chip.read() <= 49


# What others see.


def test_a_counter_that_falls_in_one_log_is_refused(fleet: Fleet) -> None:
    key = Signer.from_uri(fleet.device("one")["key"])

    def head(counter: int | None, size: int = 5) -> checkpoint.Checkpoint:
        made = checkpoint.Checkpoint(bytes(8), size, bytes(32), 0, 1, 1000, None, counter, None)
        return checkpoint.parse(made.sign(key, "acme", key.public_key().thumbprint()))

    for before, after in ((None, 3), (3, None), (3, 3), (3, 4)):
        checkpoint.follows(head(before), head(after, 6))
    with pytest.raises(Unverified, match="counter falls"):
        checkpoint.follows(head(4), head(3, 6))


def test_decisions_are_all_there(fleet: Fleet) -> None:
    robot = Robot(fleet)
    for _ in range(5):
        robot.life(30, linked=True)
    tally = robot.boot(linked=True)
    for _ in range(50):
        robot.clock.now += 1000
        robot.step()
    assert tally.backlog() <= 3
    found = [one for one in records_of(robot.files) if isinstance(one, Decision)]
    assert [one.inputs["n"] for one in found] == list(range(1, robot.number + 1))
    assert len(robot.station.trees) == 1


def test_a_key_that_cannot_say_yet_whether_it_counts(fleet: Fleet) -> None:
    robot = Robot(fleet)
    robot.life(40)
    answers: list[Any] = [RuntimeError("the TPM is busy")] * 6

    def counter() -> MoodyCounter | None:
        if answers:
            raise answers.pop()
        return robot.chip

    for last in (robot.chip, None):
        signer = Signer.from_uri(robot.config["key"])
        signer.counter = counter if last is not None else lambda: None  # type: ignore[method-assign]
        clock = SteppingClock()
        tally = Recorder.open(robot.config, signer=signer, clock=clock, background=False)
        if last is not None:
            assert tally.health.faults == {"counter:driver": 1}
            tally.decision("m@1", urgent=True)
            assert not tally.health.key_ok
        for _ in range(100):
            clock.now += MINUTE_MS
            tally.step()
        assert tally.flush()
        assert tally.health.counter == (None if last is None else robot.chip.read())
        assert ("counter:missing" in tally.health.faults) == (last is None)
        tally.close()
