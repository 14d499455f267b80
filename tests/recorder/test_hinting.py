"""A gateway's time for a device whose clock nobody has set: a hint and never a truth (F04, A10)."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.station import TIME_MS, Fleet, Station, read_credential
from tallystick.evidence import record
from tallystick.evidence.event import Event
from tallystick.evidence.welcome import Welcome
from tallystick.recorder import Recorder, clock, hinting
from tallystick.recorder.clock import DRIFT_PPM, SystemClock
from tallystick.recorder.memory_uplink import MemoryUplink

DAY_MS = 86_400_000
CHECKPOINT = 0.2


class Ticks(SystemClock):
    """Passes a millisecond at each question; its oscillator errs by `ppm`."""

    def __init__(self) -> None:
        super().__init__()
        self.true_ms = 0
        self.ppm = 0

    def uptime_ms(self) -> int:
        self.true_ms += 1
        return self.true_ms + self.true_ms * self.ppm // 1_000_000


class Device:
    """One without a clock, and a gateway that says what time it likes."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        fleet = Fleet(folder)
        self.config = fleet.device("one", checkpoint_s=CHECKPOINT, **settings)
        self.station = Station(fleet, read_credential(self.config))
        self.ahead_ms = TIME_MS
        self.boot()

    def boot(self) -> None:
        self.clock = Ticks()
        self.uplink = MemoryUplink()
        self.tally = Recorder.open(
            self.config, uplink=self.uplink, clock=self.clock, background=False
        )

    def run(self, ms: int, delay_ms: int = 0) -> None:
        end = self.clock.true_ms + ms
        number = 0
        while self.clock.true_ms < end:
            self.clock.true_ms += 10
            self.tally.step()
            number += 1
            if number % 20 == 0:
                self.tally.decision("m@1", {"n": number})
            for message in self.uplink.take():
                # Its clock at the COMMIT; then the answer travels.
                self.station.time_ms = self.ahead_ms + self.clock.true_ms - 1
                answers = self.station.answer(message)
                self.clock.true_ms += delay_ms
                for answer in answers:
                    self.uplink.deliver(answer)

    def error_ms(self) -> tuple[int, int]:
        """(how wrong its claim is, what it says that it is good for)."""
        wall = self.clock.wall()
        assert wall is not None
        return abs(wall[0] - (self.ahead_ms + self.clock.true_ms)), wall[1]

    def bodies(self) -> list[Any]:
        (records,) = self.station.records.values()
        return [record.parse(one) for one in records]

    def clocks(self) -> list[dict[str, Any]]:
        found = [one for one in self.bodies() if isinstance(one, Event)]
        return [dict(one.details) for one in found if one.event == "clock"]


@pytest.fixture(autouse=True)
def _no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "machine_s", lambda: None)


def test_receipts_tell_the_time_and_how_well(tmp_path: Path) -> None:
    device = Device(tmp_path)
    assert device.clock.wall() is None
    device.run(3000, delay_ms=40)
    wrong, good_for = device.error_ms()
    assert wrong <= good_for < 1000 * CHECKPOINT * 3
    device.run(1000)
    (first,) = device.clocks()
    assert first["before_ms"] is None
    assert first["source"] == "gateway"
    assert abs(first["after_ms"] - TIME_MS) < 5000
    # Checkpoints claim it from then on, and did not before.
    walls = [head.wall for head in device.station.heads]
    assert walls[0] is None
    assert walls[-1] is not None
    device.tally.close()


def test_an_oscillator_that_errs_is_counted_in(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.clock.ppm = 150
    device.run(2000)
    # Hours without a receipt.
    device.clock.true_ms += 6 * 3_600_000
    wrong, good_for = device.error_ms()
    assert 3000 < wrong <= good_for
    device.run(200_000)
    wrong, later = device.error_ms()
    assert wrong <= later < good_for
    device.tally.close()


def test_a_welcome_tells_no_time(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.tally.poll()
    for _ in range(50):
        device.tally.step()
        device.uplink.take()
        device.uplink.deliver(Welcome(TIME_MS, None, None).encode())
    assert device.clock.wall() is None
    device.tally.close()


def test_a_reboot_knows_no_time_and_old_stretches_tell_none(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.station.silent = True
    device.run(2000)
    device.tally.flush()
    device.tally.close()
    device.station.silent = False
    device.boot()
    assert device.clock.wall() is None
    device.run(5000)
    wrong, good_for = device.error_ms()
    assert wrong <= good_for
    device.tally.close()


LIES = (
    TIME_MS - 400 * DAY_MS,
    TIME_MS + 9 * DAY_MS,
    TIME_MS - 30 * DAY_MS,
    TIME_MS + 4000 * DAY_MS,
)


def test_a_lying_gateway_orders_nothing(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.run(3000)
    for lie in LIES:
        device.ahead_ms = lie
        device.run(70_000)
    device.run(3000)
    bodies = device.bodies()
    uptimes = [one.uptime_ms for one in bodies]
    assert uptimes == sorted(uptimes)
    heads = device.station.heads
    assert [head.size for head in heads] == sorted(head.size for head in heads)
    # The walls do jump, both ways, and each jump is an event.
    walls = [head.wall[0] for head in heads if head.wall]
    assert walls != sorted(walls)
    first, *steps = device.clocks()
    assert first["source"] == "gateway"
    said = [step["after_ms"] - step["before_ms"] for step in steps]
    before = TIME_MS
    for lie, step in zip(LIES, said, strict=True):
        assert abs(step - (lie - before)) < 60_000
        before = lie
    # What the gateway frees by its receipts does not depend on it either.
    assert device.tally.health.faults == {}
    device.tally.close()


def test_a_time_before_there_were_such_devices_is_none(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.ahead_ms = 0
    device.run(3000)
    assert device.tally.health.custody
    assert device.clock.wall() is None
    device.tally.close()


def test_a_clock_that_somebody_sets_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(tmp_path)
    device.run(3000)
    set_ms = TIME_MS + 500_000
    monkeypatch.setattr(clock, "machine_s", lambda: set_ms // 1000)
    monkeypatch.setattr("time.time_ns", lambda: (set_ms + device.clock.true_ms) * 1_000_000)
    device.run(65_000)
    assert device.clock.hint is None
    first, step = device.clocks()
    assert first["source"] == "gateway"
    assert "source" not in step
    assert abs(step["after_ms"] - step["before_ms"] - 500_000) < 1000
    device.tally.close()


def test_dates_that_were_not_checked_are_compared_with_it(tmp_path: Path) -> None:
    for number, (last_s, faults) in enumerate(
        ((TIME_MS // 1000 - 5, {"uplink:tls-dates": 1}), (TIME_MS // 1000 + 9999, {}))
    ):
        device = Device(tmp_path / str(number))
        device.uplink.undated = (TIME_MS // 1000 - 9999, last_s)
        device.run(3000)
        told = dict(device.tally.health.faults)
        told.pop("uplink:dates-unchecked", None)
        assert told == faults
        assert device.uplink.undated is None
        device.tally.close()


@given(
    st.integers(-DRIFT_PPM, DRIFT_PPM),
    st.lists(st.tuples(*[st.integers(0, 400_000)] * 3), min_size=1, max_size=12),
)
def test_honest_receipts_never_contradict_each_other(
    ppm: int, receipts: list[tuple[int, int, int]]
) -> None:
    """Whatever the delays: the claim is as good as it says."""

    class Quiet:
        wall_offset_ms = None
        clock = Ticks()

        def event(self, _name: str, details: dict[str, Any]) -> None:
            assert details["before_ms"] is None

    class Link:
        undated = None

    ledger: Any = Quiet()
    ledger.clock = Ticks()
    ledger.clock.ppm = ppm
    for before, there, back in receipts:
        ledger.clock.true_ms += before
        sealed = ledger.clock.uptime_ms()
        ledger.clock.true_ms += there
        dated = TIME_MS + ledger.clock.true_ms
        ledger.clock.true_ms += back
        hinting.heard(ledger, Link(), dated, sealed)  # type: ignore[arg-type]  # what it asks of one
        wall, good_for = ledger.clock.wall()
        assert abs(wall - (TIME_MS + ledger.clock.true_ms)) <= good_for + 2
