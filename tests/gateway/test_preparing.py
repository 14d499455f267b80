"""The next batch is built while the answer to the one before is awaited, and is sent after it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.test_urgent import ROBOTS, Queue, Slow
from support.devices import Device, Fleet
from support.gateways import MemoryGateway
from support.site import until
from tallystick.evidence import batch, gatewayhead
from tallystick.evidence.batchanswer import BatchAnswer
from tallystick.evidence.errors import TransportError
from tallystick.gateway import limits
from tallystick.gateway.answering import Answers
from tallystick.gateway.aside import Aside
from tallystick.gateway.batching import Builder, DamagedLog
from tallystick.gateway.built import Built
from tallystick.gateway.choosing import Choice
from tallystick.gateway.http import Http, Refusal
from tallystick.gateway.overtaking import Overtaking
from tallystick.gateway.peers import Peer
from tallystick.gateway.quotas import Holding
from tallystick.gateway.urgency import Urgent
from tallystick.gateway.validatorconfig import ValidatorConfig

ACME = Fleet("acme")
MOST = 4


class Yard:
    """A gateway with a backlog, and what chooses batches for a validator that is nowhere."""

    def __init__(self, folder: Path) -> None:
        self.gate = MemoryGateway(folder, ACME)
        self.robots = [ACME.device(f"robot-{n}") for n in range(3)]
        self.gate.know(*self.robots)
        self.reader = self.gate.store.reader()
        self.builder = Builder("far", "full", self.gate.signing, tuple(self.gate.credential))
        key = self.gate.key
        config = ValidatorConfig(name="far", url="http://127.0.0.1:1", key=("far", key))
        self.peer = Peer(config, "far", key)
        holding = Holding(self.peer, self.gate.signing.gateway, self.gate.store)
        self.urgent = Urgent()
        ahead = Overtaking("far", self.reader, self.builder, holding, self.urgent)
        aside = Aside("far", self.builder)
        self.choice = Choice(
            self.gate.store, self.reader, self.builder, holding, aside, ahead, age_s=0.0
        )
        self.holding = holding
        self.choices = (aside, ahead)

    def fill(self, rounds: int) -> None:
        for _ in range(rounds):
            for robot in self.robots:
                robot.record(1)
                self.gate.give(robot, robot.segments()[-1])

    def one(self) -> Built:
        """The first batch."""
        built = self.choice.next(0, MOST)
        assert built is not None and (built.first, built.to) == (0, MOST)
        return built

    def prepared(self) -> Built | None:
        return self.choice._preparing._built

    def answer(self, built: Built, *, receipts: bool = True) -> None:
        """What an answer changes in the store."""
        given = built.custody if receipts else {}
        with self.gate.store.write_aside() as connection:
            connection.executemany(
                "INSERT INTO told VALUES ('far', ?, ?)", list(built.told.items())
            )
            connection.executemany(
                "INSERT INTO receipts VALUES ('far', ?, x'')",
                [(digest,) for digest in (*given, *built.heads)],
            )
        self.builder.root_of = (built.to, built.root)

    def close(self) -> None:
        self.choice.close()
        self.reader.close()
        self.gate.store.close()


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    monkeypatch.setattr(limits, "BATCH_SEGMENTS", MOST)
    made = Yard(tmp_path)
    yield made
    made.close()


def same(one: Built, other: Built) -> bool:
    """All but the moment of the head."""
    left, right = batch.parse(one.data), batch.parse(other.data)
    heads = [gatewayhead.parse(made.head) for made in (left, right)]
    return (
        left.values()[:-1] == right.values()[:-1]
        and (heads[0].size, heads[0].root) == (heads[1].size, heads[1].root)
        and (one.told, one.custody, one.heads) == (other.told, other.custody, other.heads)
    )


def test_what_is_built_ahead_is_what_would_have_been_built_in_turn(yard: Yard) -> None:
    yard.fill(1)
    # From now on each checkpoint names a custody receipt, one robot's always the same one.
    robots = yard.robots
    for robot in robots:
        robot.custody = yard.gate.custody(robot)[-1].digest
    yard.fill(1)
    robots[1].custody = bytes(32)  # that nobody has here
    yard.fill(4)
    first = yard.one()
    assert first.custody
    with yard.choice.awaiting(first):
        pass
    ahead = yard.prepared()
    assert ahead is not None
    yard.answer(first)
    yard.choice.answered(first, expected=True)
    in_turn = yard.builder.build(yard.reader, first.to, MOST)
    assert in_turn is not None
    assert same(ahead, in_turn)
    # Nobody is told again, and no receipt goes along again, that the first batch brought.
    assert not set(ahead.told) & set(first.told)
    assert not set(ahead.custody) & set(first.custody)
    assert batch.parse(ahead.data).missing == [bytes(32)]
    assert yard.choice.next(first.to, MOST) is ahead
    # Once.
    assert yard.choice.next(first.to, MOST) is not ahead


def _nothing(_yard: Yard, _built: Built) -> None:
    pass


def _unexpected(yard: Yard, built: Built) -> None:
    yard.choice.answered(built, expected=False)


def _device_must_wait(yard: Yard, _built: Built) -> None:
    yard.builder.holds = lambda device: device == yard.robots[0].id


def _aside_is_due(yard: Yard, _built: Built) -> None:
    with yard.gate.store.write_aside() as connection:
        connection.execute("INSERT INTO set_aside VALUES ('far', 1, 'bad-root', 0, 1, 0)")
    yard.choice.aside_s = -limits.RETRY_LOOK_S


def _dropped(yard: Yard, _built: Built) -> None:
    yard.choice.drop()


def _another_cursor(_yard: Yard, built: Built) -> None:
    built.to -= 1


def _smaller(_yard: Yard, _built: Built) -> None:
    pass


def _urgent_goes_first(yard: Yard, _built: Built) -> None:
    yard.urgent.add(11)
    made = yard.choice.next(MOST, MOST)
    assert made is not None and made.ahead is not None
    yard.builder.given.update(made.ahead)
    yard.choice.hurried = True


CHANGES: list[Callable[[Yard, Built], None]] = [
    _unexpected, _device_must_wait, _aside_is_due, _dropped, _another_cursor, _smaller,
    _urgent_goes_first,
]  # fmt: skip


@pytest.mark.parametrize("change", [_nothing, *CHANGES], ids=lambda one: one.__name__)
def test_whatever_else_comes_throws_it_away(
    yard: Yard, change: Callable[[Yard, Built], None]
) -> None:
    yard.fill(4)
    first = yard.one()
    with yard.choice.awaiting(first):
        assert yard.prepared() is None or yard.prepared() is not first
    ahead = yard.prepared()
    assert ahead is not None and (ahead.first, ahead.to) == (MOST, 2 * MOST)
    yard.answer(first)
    yard.choice.answered(first, expected=True)
    change(yard, first)
    chosen = yard.choice.next(first.to, MOST - (change is _smaller))
    assert (chosen is ahead) == (change is _nothing)
    assert chosen is not None


def test_an_error_on_the_way_throws_it_away(yard: Yard) -> None:
    yard.fill(4)
    first = yard.one()
    with pytest.raises(TransportError), yard.choice.awaiting(first):
        raise TransportError("unreachable", "nobody answered")
    assert yard.prepared() is None


def test_what_may_grow_or_goes_another_way_is_not_built_ahead(yard: Yard) -> None:
    yard.fill(2)  # six: the second batch would not be full
    first = yard.one()
    with yard.choice.awaiting(first):
        pass
    assert yard.prepared() is None
    yard.fill(2)
    # Something urgent waits: it will go first.
    yard.urgent.add(11)
    with yard.choice.awaiting(first):
        pass
    assert yard.prepared() is None
    yard.builder.given.add(11)
    with yard.choice.awaiting(first):
        pass
    assert yard.prepared() is not None
    # One that is late, ahead, or not full is followed by nothing that is known now.
    changes: list[dict[str, Any]] = [{"late": b"device"}, {"ahead": {}}, {"full": False}]
    for change in changes:
        with yard.choice.awaiting(replace(first, **change)):
            pass
        assert yard.prepared() is None


def test_it_contradicts_nothing_that_was_signed(yard: Yard) -> None:
    yard.fill(4)
    first = yard.one()
    # What the batch before told of the log is compared, sent or not.
    with pytest.raises(DamagedLog):
        yard.builder.build(yard.reader, MOST, MOST, replace(first, root=bytes(32)))
    with yard.gate.store.write() as connection:
        connection.execute("UPDATE nodes SET hash = zeroblob(32) WHERE level = 2 AND at = 0")
    with yard.choice.awaiting(first):
        pass
    # Nothing is told of it here: it is met again in its turn, and told then.
    assert yard.prepared() is None
    yard.builder.root_of = (first.to, first.root)
    with pytest.raises(DamagedLog):
        yard.choice.next(first.to, MOST)


def test_what_is_damaged_is_not_built_ahead(yard: Yard) -> None:
    yard.fill(4)
    first = yard.one()
    with yard.gate.store.write() as connection:
        connection.execute("UPDATE segments SET crc = crc + 1 WHERE at = 5")
    with yard.choice.awaiting(first):
        pass
    assert yard.prepared() is None


def test_a_system_without_threads_builds_in_turn(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard.fill(4)
    first = yard.one()

    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    with yard.choice.awaiting(first):
        pass
    assert yard.prepared() is None
    assert yard.choice.next(first.to, MOST) is not None


def test_only_an_answer_that_took_all_and_receipted_all_is_the_expected_one(yard: Yard) -> None:
    yard.fill(1)
    yard.robots[0].custody = yard.gate.custody(yard.robots[0])[-1].digest
    yard.fill(3)
    parts = (yard.gate.store, yard.builder, yard.holding)
    answers = Answers(yard.peer, *parts, *yard.choices, yard.gate.down_queue)
    first = yard.one()
    assert first.custody
    # Whether each receipt is good is looked at elsewhere.
    answers._receipts.reason = lambda _data, _statement: None  # type: ignore[assignment,method-assign]
    receipts = [(digest, b"receipt") for digest in (*first.custody, *first.heads)]

    def expected(answer: BatchAnswer, built: Built = first) -> bool:
        yard.builder.edged.clear()
        answers.accept(built, answer, 0)
        return answers.as_expected

    assert expected(BatchAnswer(MOST, receipts, []))
    # The next batch would leave this receipt out.
    assert not expected(BatchAnswer(MOST, receipts[1:], []))
    assert not expected(BatchAnswer(MOST, receipts, [(1, "bad-root")]))
    assert not expected(BatchAnswer(MOST, receipts, [(2, "no-history")]))
    assert not expected(BatchAnswer(MOST, receipts, []), replace(first, damaged=[1]))
    assert not expected(BatchAnswer(MOST, receipts, []), replace(first, ahead={}))


# --- with a real validator ---------------------------------------------------------------------


class Watching(Slow):
    """Says what was built when a batch was under way; loses or refuses what it is told to."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.on_post: Callable[[], None] = lambda: None
        self.bodies: list[bytes] = []
        self.lose = 0

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        if path == "/v1/batches":
            self.bodies.append(body)
            self.on_post()
        answer = super().post(path, body, headers)
        if path == "/v1/batches" and self.lose:
            self.lose -= 1
            raise TransportError("unreachable", "the answer was lost")
        return answer


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    monkeypatch.setattr(limits, "BATCH_SEGMENTS", MOST)
    made = Queue(tmp_path)
    made.link = Watching(made.notary.url)
    made.forwarder.close()
    made.open()
    yield made
    made.close()


def test_a_backlog_is_built_ahead_and_arrives_whole_through_losses_and_claims(
    queue: Queue,
) -> None:
    link = queue.link
    assert isinstance(link, Watching)
    queue.fill(2 * ROBOTS)
    preparing = queue.forwarder._choice._preparing
    seen: list[bytes] = []

    def built() -> None:
        # While the answer is awaited; the last two find nothing more that is full.
        if queue.forwarder.cursor + 2 * MOST <= queue.size and not link.lose:
            until(lambda: preparing._built is not None, "the next batch")
            assert preparing._built is not None
            seen.append(preparing._built.packed)

    link.on_post = built
    queue.forwarder.turn()
    queue.forwarder.turn()
    # What was built ahead is what was sent, after the answer.
    assert link.bodies[1] == seen[0]
    assert queue.forwarder.cursor == 2 * MOST
    # The answer is lost: the same batch is sent again, and the one after it is another one.
    link.lose = 1
    sent = len(link.bodies)
    assert queue.forwarder.turn() > 0
    assert preparing._built is None
    link.on_post = lambda: None
    beside: list[Built] = []
    real = preparing.beside

    def counted(before: Built, most: int) -> AbstractContextManager[None]:
        beside.append(before)
        return real(before, most)

    preparing.beside = counted  # type: ignore[assignment,method-assign]
    queue.forwarder.turn()
    assert link.bodies[sent] == link.bodies[sent + 1]
    # After a failure nothing is built ahead, until it goes well again.
    assert not beside
    queue.forwarder.turn()
    assert beside
    # A claim passes the backlog, and nothing is sent twice or left out.
    robot: Device = queue.robots[3]
    digest = queue.claim(robot)
    queue.forwarder.turn()
    assert queue.went[-1][2]
    assert queue.receipted(digest)
    queue.drain()
    for one in queue.robots:
        assert queue.at_validator(one) == one.size


def test_a_refusal_leaves_nothing_built(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.fill(ROBOTS)
    queue.forwarder.turn()
    preparing = queue.forwarder._choice._preparing
    assert preparing._built is not None
    real = Http.post

    def gap(self: Http, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        until(lambda: preparing._built is not None, "the next batch")
        raise Refusal("gateway-gap", "send from the beginning", 409, 0)

    monkeypatch.setattr(Http, "post", gap)
    queue.forwarder.turn()
    assert preparing._built is None
    assert queue.forwarder.cursor == 0
    monkeypatch.setattr(Http, "post", real)
    queue.drain()
    for one in queue.robots:
        assert queue.at_validator(one) == one.size
