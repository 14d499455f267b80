"""The bandwidth limit, what is urgent under it, and how a device connects again."""

import datetime as dt
import itertools
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from _counter import SteppingClock
from fuzz.fuzz_tls_dates import certificate
from support.station import Fleet, Station, read_credential
from tallystick.recorder import Recorder, link, pacing
from tallystick.recorder.memory_uplink import MemoryUplink
from tallystick.recorder.pacing import Bucket
from tallystick.recorder.tls_dates import dates

RATE = 2000


class Metered(MemoryUplink):
    """Notes when how many bytes were taken, and when somebody connected."""

    def __init__(self, clock: SteppingClock, *, plugged: bool = True) -> None:
        super().__init__(plugged)
        self.clock = clock
        self.taken: list[tuple[int, int]] = []
        self.tried: list[int] = []

    def connect(self) -> None:
        self.tried.append(self.clock.now)
        super().connect()

    def publish_pieces(self, size: int, pieces: Any) -> bool:
        done = super().publish_pieces(size, pieces)
        if done:
            self.taken.append((self.clock.now, size))
        return done


class Device:
    """A recorder, its meter and a gateway, all in simulated time."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        fleet = Fleet(folder)
        config = fleet.device("one", checkpoint_s=3600, resend_s=60, **settings)
        self.clock = SteppingClock(1)
        self.uplink = Metered(self.clock)
        self.station = Station(fleet, read_credential(config))
        self.tally = Recorder.open(config, uplink=self.uplink, clock=self.clock, background=False)

    def run(self, ms: int) -> None:
        end = self.clock.now + ms
        while self.clock.now < end:
            self.clock.now += 5
            self.tally.step()
            for message in self.uplink.take():
                for answer in self.station.answer(message):
                    self.uplink.deliver(answer)

    def decide(self, count: int) -> None:
        for number in range(count):
            self.tally.decision("m@1", {"n": number, "blob": bytes(100)})

    def most(self, window_ms: int) -> int:
        """The most bytes in any stretch of time so long."""
        taken = self.uplink.taken
        return max(
            sum(size for then, size in taken if begin <= then < begin + window_ms)
            for begin, _ in taken
        )


def test_the_limit_is_kept(tmp_path: Path) -> None:
    device = Device(tmp_path, uplink_bytes_s=RATE)
    device.decide(800)
    device.run(20_000)
    segment = max(size for _, size in device.uplink.taken)
    assert device.most(10_000) <= RATE * 10 + segment + RATE // 4
    # And used: what is there goes.
    assert device.most(10_000) > RATE * 9
    assert device.tally.backlog() > 100
    device.run(60_000)
    assert device.tally.backlog() <= 8
    assert device.station.repeated == 0
    device.tally.close()


def test_without_a_limit_nothing_waits(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.decide(400)
    device.run(6000)
    assert not device.tally.backlog()
    device.tally.close()


def test_what_is_urgent_does_not_wait_and_is_paid_for(tmp_path: Path) -> None:
    device = Device(tmp_path, uplink_bytes_s=RATE)
    device.decide(200)
    device.run(1000)
    assert device.tally.backlog() > 60
    device.tally.decision("m@1", {"n": 1}, urgent=True)
    began = device.clock.now
    device.run(1000)
    # With all that came before it, since order is kept; the event of the link came after it.
    assert device.tally.backlog() <= 1
    sent = sum(size for then, size in device.uplink.taken if then >= began)
    assert sent > 4 * RATE
    # Afterwards what is not urgent waits until that is paid back.
    device.decide(8)
    device.run(1000)
    assert device.tally.backlog() >= 8
    device.run(15_000)
    assert device.tally.backlog() <= 1
    device.tally.close()


def test_urgent_ones_have_no_more_credit_than_there_is(tmp_path: Path) -> None:
    device = Device(tmp_path, uplink_bytes_s=RATE)
    device.decide(2000)
    device.tally.decision("m@1", {"n": 1}, urgent=True)
    device.run(30_000)
    segment = max(size for _, size in device.uplink.taken)
    most = device.most(20_000)
    assert most <= RATE * (20 + pacing.CREDIT_MS // 1000) + segment + RATE // 4
    assert most > RATE * 25
    device.tally.close()


@given(
    st.integers(100, 1 << 30),
    st.lists(st.tuples(st.integers(0, 5000), st.booleans(), st.integers(0, 4096)), max_size=60),
)
def test_a_bucket_never_gives_more_than_it_has(
    bytes_s: int, uses: list[tuple[int, bool, int]]
) -> None:
    bucket = Bucket(bytes_s)
    now = taken = 0
    bucket.passed(now)
    burst = max(bytes_s * pacing.BURST_MS // 1000, pacing.BURST_BYTES_MIN)
    for passed_ms, hurry, wanted in uses:
        now += passed_ms
        bucket.passed(now)
        bucket.hurry = hurry
        # However long nothing was sent.
        assert bucket.room() <= burst + (bytes_s * pacing.CREDIT_MS // 1000 if hurry else 0)
        count = min(wanted, bucket.room())
        bucket.take(count)
        taken += count
        credit = bytes_s * pacing.CREDIT_MS // 1000
        assert taken <= burst + bytes_s * now // 1000 + credit


# Connecting again.


def attempts(folder: Path, minutes: int) -> list[int]:
    """The times between two attempts, in milliseconds."""
    device = Device(folder)
    device.uplink.plugged = False
    while device.clock.now < minutes * 60_000:
        device.clock.now += 50
        device.tally.step()
    times = device.uplink.tried
    device.tally.close()
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def test_the_pause_grows_to_its_bound_and_differs(tmp_path: Path) -> None:
    all_pauses = [attempts(tmp_path / str(number), 20) for number in range(4)]
    step = 60  # of the simulated time
    for pauses in all_pauses:
        wanted = link.CONNECT_RETRY_MS_MIN
        for pause in pauses:
            assert wanted // 2 <= pause <= wanted + step
            wanted = min(2 * wanted, link.CONNECT_RETRY_MS_MAX)
        assert max(pauses) > link.CONNECT_RETRY_MS_MAX // 2
    # Four devices that lost one broker together do not come back together.
    assert len({tuple(pauses[-3:]) for pauses in all_pauses}) == 4


def test_a_broker_that_takes_and_drops_gets_no_faster_attempts(tmp_path: Path) -> None:
    """Only a gateway's welcome makes the pause short again."""
    device = Device(tmp_path)
    while device.clock.now < 600_000:
        device.clock.now += 50
        device.tally.step()
        if device.uplink.take():
            device.uplink.pull()
            device.uplink.plug()
    assert len(device.uplink.tried) < 30
    device.run(120_000)
    assert device.tally.health.custody
    before = len(device.uplink.tried)
    device.uplink.pull()
    device.uplink.plug()
    began = device.clock.now
    device.run(2000)
    assert len(device.uplink.tried) == before + 1
    assert device.uplink.tried[-1] - began <= link.CONNECT_RETRY_MS_MAX
    device.tally.close()


def test_the_dates_of_a_certificate() -> None:
    for first, last in (
        (dt.datetime(1996, 2, 29, 1, 2, 3), dt.datetime(2049, 12, 31, 23, 59, 59)),  # noqa: DTZ001
        (dt.datetime(2050, 3, 1), dt.datetime(2400, 2, 29, 12)),  # noqa: DTZ001
    ):
        expected = tuple(
            int(one.replace(tzinfo=dt.timezone.utc).timestamp()) for one in (first, last)
        )
        assert dates(certificate(first, last)) == expected
