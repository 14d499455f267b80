"""Urgent segments go ahead of a backlog: at once, in their device's order, and starving nobody."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.test_forward import get
from support.devices import Device, Fleet
from support.gateways import MemoryGateway
from support.notary import Notary
from support.site import until
from support.validating import HANDOVER
from tallystick.evidence import batch, checkpoint
from tallystick.gateway import limits
from tallystick.gateway.built import Built
from tallystick.gateway.forward import Forwarder
from tallystick.gateway.http import Http, Refusal
from tallystick.gateway.pace import Throttle

ACME = Fleet("acme")
ROBOTS = 20
LET_S_MAX = 60.0


class Slow(Http):
    """The way to the validator."""

    let: threading.Semaphore | None = None  # where set, each batch waits until it is let
    waiting = threading.Semaphore(0)

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        if path == "/v1/batches" and self.let is not None:
            self.waiting.release()
            self.let.acquire(timeout=LET_S_MAX)
        return super().post(path, body, headers)


class Queue:
    """A gateway with a backlog before a validator, and a forwarder that a test turns."""

    def __init__(self, folder: Path) -> None:
        self.gate = MemoryGateway(folder / "gate", ACME)
        self.notary = Notary(folder / "notary", ACME).start()
        self.robots = [ACME.device(f"robot-{n}") for n in range(ROBOTS)]
        self.gate.know(*self.robots)
        self.link = Slow(self.notary.url)
        self.open()

    def open(self) -> None:
        self.forwarder = Forwarder(
            self.notary.peer(),
            self.gate.store,
            self.gate.signing,
            tuple(self.gate.credential),
            self.gate.down_queue,
            threading.Event(),
            retry_s_max=0.2,
            http=self.link,
            urgent=self.gate.worker.urgent,
        )
        self.went: list[tuple[int, int, bool]] = []
        real = self.forwarder._send

        def send(built: batch.Batch) -> None:
            real(built)  # type: ignore[arg-type]
            self.went.append((built.first, built.to, built.ahead is not None))  # type: ignore[attr-defined]

        self.forwarder._send = send  # type: ignore[assignment,method-assign]

    def fill(self, count: int) -> None:
        """So many segments, of all robots in turn."""
        messages = 0
        while messages < count:
            for robot in self.robots:
                robot.record(1)
                self.gate.send(robot, robot.segments()[-1])
                messages += 1
        self.gate.turn()

    def claim(self, robot: Device, task: str = "order-1") -> bytes:
        """An urgent segment; the digest of its checkpoint."""
        parties = {"giver": [robot.id], "receiver": [self.robots[-1].id]}
        robot.claim(
            task, "giver", "released", parties, HANDOVER.digest, item="pallet", position_m=[1, 2]
        )
        robot.seal()
        self.gate.give(robot, robot.segments()[-1])
        return checkpoint.parse(robot.stretches[-1].checkpoint).digest

    def receipted(self, digest: bytes) -> bool:
        reader = self.gate.store.reader()
        row = reader.execute("SELECT 1 FROM receipts WHERE statement = ?", (digest,)).fetchone()
        reader.close()
        return row is not None

    def drain(self, turns: int = 200) -> None:
        for _ in range(turns):
            self.forwarder.turn()
            if self.forwarder.cursor == self.size:
                return
        raise AssertionError(self.forwarder.cursor)

    @property
    def size(self) -> int:
        return len(self.gate.ranges())

    def at_validator(self, robot: Device) -> int:
        logs: list[dict[str, int]] = get(self.notary, f"/v1/devices/{robot.text}")["logs"]  # type: ignore[assignment]
        assert len(logs) == 1
        return logs[0]["size"]

    def close(self) -> None:
        self.forwarder.close()
        self.notary.stop()
        self.gate.store.close()


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    made = Queue(tmp_path)
    yield made
    made.close()


def test_it_goes_first_with_what_its_device_sent_before_and_the_others_follow(
    queue: Queue,
) -> None:
    queue.fill(1_000)
    robot = queue.robots[3]
    digest = queue.claim(robot)
    queue.forwarder.turn()
    assert queue.went == [(0, 1_001, True)]
    assert queue.receipted(digest)
    # Its device's whole log is there, in order and in one piece; of the others nothing yet.
    assert queue.at_validator(robot) == robot.size
    assert queue.forwarder.cursor == 0
    queue.drain()
    assert not any(ahead for _, _, ahead in queue.went[1:])
    for one in queue.robots:
        assert queue.at_validator(one) == one.size
    assert queue.gate.status()["validators"][0]["receipts"] == 1_001  # type: ignore[index]


def test_a_backlog_of_thousands_at_a_slow_validator_delays_it_by_a_batch_or_two(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BATCH_SEGMENTS", 100)
    queue.forwarder._segments_max = 100
    queue.fill(2_000)
    queue.link.let, queue.link.waiting = threading.Semaphore(0), threading.Semaphore(0)
    thread = threading.Thread(target=queue.forwarder.run)
    thread.start()
    try:
        for n in range(2):
            robot = queue.robots[n]
            # One batch is under way, another one may have its turn, the third brings it.
            assert queue.link.waiting.acquire(timeout=LET_S_MAX)
            digest = queue.claim(robot, f"order-{n}")
            queue.forwarder.wake()
            let = 0
            while not queue.receipted(digest):
                queue.link.let.release()
                let += 1
                # The next one goes when what was answered to the one before is stored.
                assert queue.link.waiting.acquire(timeout=LET_S_MAX)
            assert let <= 3
            queue.link.waiting.release()
            assert queue.forwarder.cursor < queue.size - 1_000, "the backlog lasts"
            assert queue.at_validator(robot) == robot.size
        queue.link.let.release(1_000)
        until(lambda: queue.forwarder.cursor == queue.size, "the backlog", LET_S_MAX)
    finally:
        queue.forwarder._stop.set()
        queue.forwarder.wake()
        queue.link.let.release(1_000)
        thread.join(LET_S_MAX)
    for one in queue.robots:
        assert queue.at_validator(one) == one.size


def test_urgent_traffic_without_end_starves_nobody(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BATCH_SEGMENTS", 50)
    queue.forwarder._segments_max = 50
    queue.fill(1_000)
    for n in range(40):
        queue.claim(queue.robots[n % 10], f"order-{n}")
        queue.forwarder.turn()
        if queue.forwarder.cursor >= 1_000:
            break
    ordinary = [one for one in queue.went if not one[2]]
    # Every other batch is the backlog's, and a full one.
    assert len(ordinary) >= len(queue.went) // 2
    assert sum(to - first for first, to, _ in ordinary) >= 50 * len(ordinary) - 50
    assert queue.forwarder.cursor >= 1_000


def test_what_went_ahead_is_not_sent_twice_nor_lost_when_it_is_forgotten(queue: Queue) -> None:
    queue.fill(600)
    queue.claim(queue.robots[0])
    queue.forwarder.turn()
    given = set(queue.forwarder._builder.given)
    assert len(given) == 31  # 30 before it, and itself
    built = queue.forwarder._builder.build(queue.forwarder._reader, 0, 100)
    assert built is not None
    items = batch.parse(built.data).items
    assert [at for at, item in enumerate(items) if not isinstance(item, bytes)] == [
        at for at in sorted(given) if at < 100
    ]
    # A restart forgets which went, and how far the validator knows the log stands in the store.
    queue.gate.worker.urgent.add(599)
    queue.forwarder.close()
    queue.link = Slow(queue.notary.url)
    queue.open()
    assert queue.forwarder._ahead.size == 601
    queue.drain()
    for one in queue.robots:
        assert queue.at_validator(one) == one.size


def test_a_validator_that_knows_more_than_was_noted_is_asked_how_far(queue: Queue) -> None:
    queue.fill(600)
    queue.claim(queue.robots[0])
    queue.forwarder.turn()
    with queue.gate.store.write_aside() as connection:
        # Killed between the answer and its transaction.
        connection.execute("DELETE FROM meta WHERE name LIKE 'ahead of %'")
    queue.forwarder.close()
    queue.link = Slow(queue.notary.url)
    queue.open()
    queue.fill(500)
    digest = queue.claim(queue.robots[1])
    while not queue.receipted(digest):
        assert queue.forwarder.turn() == 0.0
    assert queue.forwarder.cursor < 600
    queue.drain()


def test_a_validator_that_lost_its_store_gets_everything_again(queue: Queue) -> None:
    queue.fill(600)
    queue.claim(queue.robots[0])
    queue.forwarder.turn()
    queue.notary.stop()
    files = list((queue.gate.path.parent.parent / "notary").glob("*.sqlite*"))
    assert files
    for file in files:
        file.unlink()
    queue.notary.start()
    queue.drain()
    for one in queue.robots:
        assert queue.at_validator(one) == one.size


def test_a_validator_that_was_put_back_gets_again_what_went_ahead(queue: Queue) -> None:
    folder = queue.gate.path.parent.parent / "notary"
    queue.fill(300)
    assert queue.forwarder.turn() == 0.0
    queue.notary.stop()
    kept = {file: file.read_bytes() for file in folder.glob("*.sqlite*")}
    assert kept
    queue.notary.start()
    queue.fill(600)
    queue.claim(queue.robots[0])
    while not queue.forwarder._builder.given:
        queue.forwarder.turn()
    queue.notary.stop()
    for file in folder.glob("*.sqlite*"):
        file.unlink()
    for file, data in kept.items():
        file.write_bytes(data)
    queue.notary.start()
    queue.drain()
    # Passed over, they would be lacking there for ever.
    for one in queue.robots:
        assert queue.at_validator(one) == one.size


def test_a_validator_that_knows_more_never_has_segments_passed_over(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.fill(600)
    real = queue.link.post

    def refuse(path: str, body: bytes, headers: dict[str, str]) -> bytes:
        monkeypatch.setattr(queue.link, "post", real)
        raise Refusal("gateway-gap", "send from there", 409, 500)

    monkeypatch.setattr(queue.link, "post", refuse)
    assert queue.forwarder.turn() > 0.0
    assert queue.forwarder.cursor == 0


def test_a_device_that_must_wait_for_a_quota_does_not_go_ahead(queue: Queue) -> None:
    queue.fill(600)
    robot = queue.robots[0]
    queue.forwarder._builder.holds = lambda device: device == robot.id
    queue.forwarder._holding.holds = queue.forwarder._builder.holds  # type: ignore[method-assign]
    queue.claim(robot)
    assert queue.forwarder._ahead.build(queue.forwarder._reader, 0, 256) is None


def test_a_damaged_node_between_is_never_signed(queue: Queue) -> None:
    queue.fill(600)
    queue.claim(queue.robots[0])
    with queue.gate.store.write_aside() as connection:
        connection.execute("UPDATE nodes SET hash = zeroblob(32) WHERE level = 0 AND at = 2")
    seen: list[int] = []
    queue.forwarder.on_damage = seen.append
    assert queue.forwarder.turn() > 0
    assert seen == [-1]
    assert queue.went == []


def test_a_link_with_a_rate_lets_it_go_at_once_on_credit(queue: Queue) -> None:
    queue.fill(600)
    queue.forwarder._link = Throttle(20_000)
    assert queue.forwarder.turn() == 0.0
    assert queue.forwarder.turn() > 0  # the next batch is built, and waits for the link
    assert queue.forwarder._pending is not None
    digest = queue.claim(queue.robots[-2])
    assert queue.forwarder.turn() == 0.0
    assert queue.receipted(digest)
    # Then the other has its turn, and waits for what was lent.
    queue.claim(queue.robots[-3])
    assert queue.forwarder.turn() > 0
    assert [ahead for _, _, ahead in queue.went] == [False, True]


def test_a_refused_one_waits_for_its_turn(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.fill(600)
    digest = queue.claim(queue.robots[0])
    real = queue.link.post

    def refuse(path: str, body: bytes, headers: dict[str, str]) -> bytes:
        monkeypatch.setattr(queue.link, "post", real)
        raise Refusal("bad-value", "no", 400, None)

    monkeypatch.setattr(queue.link, "post", refuse)
    assert queue.forwarder.turn() == 0.0
    assert not queue.forwarder._builder.elided
    queue.drain()
    assert queue.went[0] == (0, 256, False)
    assert queue.receipted(digest)


def steps_of(queue: Queue, most: int) -> int:
    """What SQLite does to build the next urgent batch, in hundreds of its instructions."""
    counted = [0]

    def count() -> int:
        counted[0] += 1
        return 0

    forwarder = queue.forwarder
    forwarder._reader.set_progress_handler(count, 100)
    built = forwarder._ahead.build(forwarder._reader, forwarder.cursor, most)
    forwarder._reader.set_progress_handler(None, 0)
    assert built is not None
    assert built.ahead is not None
    assert len(built.ahead) == most
    return counted[0]


def backlog_of(queue: Queue, robot: Device, count: int) -> None:
    for _ in range(count):
        robot.record(1)
        queue.gate.send(robot, robot.segment(len(robot.stretches) - 1))
    queue.gate.turn()


def test_a_long_way_of_its_own_device_costs_no_more_than_a_shorter_one(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "URGENT_WAY_MAX", 100)
    robot = queue.robots[0]
    backlog_of(queue, robot, 500)
    queue.claim(robot)
    backlog_of(queue, robot, 20)
    short = steps_of(queue, 20)
    backlog_of(queue, robot, 2_500)
    queue.claim(robot)
    backlog_of(queue, robot, 1_000)
    assert steps_of(queue, 20) < 1.3 * short


def test_a_long_way_goes_ahead_in_parts_and_in_order(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BATCH_SEGMENTS", 20)
    monkeypatch.setattr(limits, "URGENT_WAY_MAX", 15)
    queue.forwarder._segments_max = 20
    queue.fill(1_000)
    robot = queue.robots[-1]
    digest = queue.claim(robot)
    while not queue.receipted(digest):
        assert queue.forwarder.turn() == 0.0
    # 51 segments, 15 at a time, and every other batch is of the backlog.
    assert [ahead for _, _, ahead in queue.went] == [True, False] * 3 + [True]
    assert queue.at_validator(robot) == robot.size


def test_where_much_went_ahead_only_short_ways_follow(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BATCH_SEGMENTS", 20)
    monkeypatch.setattr(limits, "URGENT_DONE_MAX", 40)
    queue.forwarder._segments_max = 20
    long, short = queue.robots[0], ACME.device("new")
    queue.gate.know(short)
    queue.fill(1_600)
    late = queue.claim(long)
    digest = None
    went: set[int] = set()
    real = queue.forwarder._ahead.build

    def build(reader: sqlite3.Connection, cursor: int, most: int) -> Built | None:
        built = real(reader, cursor, most)
        ahead = set(built.ahead or ()) if built is not None else set()
        assert not ahead & went, "sent ahead once more"
        went.update(ahead)
        return built

    monkeypatch.setattr(queue.forwarder._ahead, "build", build)
    for n in range(200):
        assert queue.forwarder.turn() == 0.0
        assert len(queue.forwarder._builder.given) <= 40
        if n == 3:
            short.record(1)
            queue.gate.give(short, short.segment())
            digest = queue.claim(short)
        if n == 6:
            assert digest is not None
            assert queue.receipted(digest)
        if queue.receipted(late):
            break
    assert queue.at_validator(long) == long.size


def test_a_damaged_one_goes_ahead_once_at_most_and_is_told(queue: Queue) -> None:
    queue.fill(600)
    queue.claim(queue.robots[0])
    queue.claim(queue.robots[1])
    with queue.gate.store.write_aside() as connection:
        connection.execute("UPDATE segments SET crc = crc + 1 WHERE at >= 600")
    seen: list[int] = []
    queue.forwarder.on_damage = seen.append
    for _ in range(2):
        assert queue.forwarder.turn() == 0.0
    # With what their devices sent before them, then no more.
    assert [ahead for _, _, ahead in queue.went] == [True, False]
    assert set(seen) == {600, 601}
    queue.claim(queue.robots[0], "order-2")
    told = len(seen)
    with queue.gate.store.write_aside() as connection:
        connection.execute("UPDATE segments SET crc = crc + 1 WHERE at = 602")
    for _ in range(2):
        assert queue.forwarder._ahead.build(queue.forwarder._reader, 256, 256) is None
    queue.forwarder.turn()
    assert len(queue.went) == 3
    assert not queue.went[2][2]
    assert told == len(seen)


def test_a_claim_whose_way_is_damaged_is_not_tried_again_and_again(queue: Queue) -> None:
    queue.fill(600)
    queue.claim(queue.robots[0])
    with queue.gate.store.write_aside() as connection:
        connection.execute("UPDATE segments SET crc = crc + 1 WHERE at = 600")
    first = queue.forwarder._ahead.build(queue.forwarder._reader, 0, 256)
    assert first is not None
    assert 600 not in (first.ahead or {})
    assert queue.forwarder._ahead.damaged == [600]
    assert queue.forwarder._ahead.build(queue.forwarder._reader, 0, 256) is None
