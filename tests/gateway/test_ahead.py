"""Verification ahead: the same store and the same answers, whatever becomes of the processes."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.devices import Device, Fleet
from support.gateways import MemoryGateway
from tallystick.evidence.folded import Folded, fold
from tallystick.evidence.limits import SEGMENT_BYTES_MAX
from tallystick.gateway import ahead, limits, steps
from tallystick.gateway.ahead import Ahead, workers_by_default
from tallystick.gateway.inbox import Delivery, Inbox
from tallystick.gateway.ingest import Instant, Message
from tallystick.gateway.verifier import Asked
from tallystick.gateway.verifying import Ended, Process, Stuck

ACME = Fleet("acme")
STRETCHES = 100
WAIT_S_MAX = 60.0


def robots() -> list[Device]:
    made = [ACME.device(f"robot-{number}") for number in range(2)]
    for robot in made:
        for count in range(STRETCHES):
            robot.record(1 + count % 7)
    return made


def until(true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + WAIT_S_MAX
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.005)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[MemoryGateway]:
    made = MemoryGateway(tmp_path / "with", ACME, workers=1)
    yield made
    steps.on_step(None)
    made.ahead.stop()
    made.inbox.close()
    for thread in made.ahead.threads:
        thread.join(WAIT_S_MAX)
    assert not any(thread.is_alive() for thread in made.ahead.threads)


def stored(gateway: MemoryGateway) -> list[tuple[object, ...]]:
    reader = gateway.store.reader()
    rows = reader.execute(
        "SELECT s.at, t.device, s.first, s.until, s.root, s.checkpoint, s.edge, s.named, s.tail, "
        "s.crc, s.records, s.data FROM segments s JOIN tracks t USING (track) ORDER BY s.at"
    ).fetchall()
    nodes = reader.execute("SELECT level, at, hash FROM nodes ORDER BY level, at").fetchall()
    reader.close()
    return rows + nodes


def send(gateway: MemoryGateway, made: list[Device]) -> None:
    for number in range(STRETCHES):
        for robot in made:
            gateway.send(robot, robot.segment(number, number + 1))


def at_each_group(work: Callable[[], None]) -> None:
    """Called when a group was taken and nothing of it is done: others look ahead meanwhile."""

    def hook(point: str) -> None:
        if point == steps.RECEIVED:
            work()

    steps.on_step(hook)


def found_for_all(gateway: MemoryGateway) -> Callable[[], bool]:
    """Whether all that could be given away has come back."""

    def true() -> bool:
        claims = [*gateway.ahead._claims.values()]
        waiting = len(gateway.inbox)
        return all(claim.found for claim in claims) and (
            len(claims) >= waiting - limits.AHEAD_MESSAGES_MIN
        )

    return true


def test_the_store_and_the_receipts_are_the_same(
    gateway: MemoryGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None is replaced here, however busy this machine is.
    monkeypatch.setattr(limits, "AHEAD_ANSWER_S_MAX", WAIT_S_MAX)
    made = robots()
    plain = MemoryGateway(tmp_path / "without", ACME)
    for one in (gateway, plain):
        one.know(*made)
        send(one, made)
    plain.turn()
    placer = gateway.worker.core._placer
    placed: list[bool] = []
    look = placer.folded

    def counted(*arguments: Any) -> Any:
        found = look(*arguments)
        placed.append(found is not None)
        return found

    monkeypatch.setattr(placer, "folded", counted)
    at_each_group(lambda: until(found_for_all(gateway)))
    gateway.turn()
    told = gateway.ahead.told()
    assert placed == [True] * told["used"]
    # The first group is on its way when the process starts; so are stragglers at the end.
    least = 2 * STRETCHES - limits.GROUP_SHARED_MAX - 2 * limits.AHEAD_MESSAGES_MIN
    assert told["used"] >= least, told
    assert (told["workers"], told["running"], told["replaced"], told["late"]) == (1, 1, 0, 0)
    assert stored(gateway) == stored(plain)
    assert gateway.tracks() == plain.tracks()
    for robot in made:
        assert gateway.custody(robot)[-1].root == robot.root
    assert len(gateway.link.acked) == 2 * STRETCHES


def test_what_is_bad_is_refused_for_its_reason(gateway: MemoryGateway) -> None:
    made = robots()
    gateway.know(*made)
    flipped = bytearray(made[0].segment(STRETCHES - 1))
    flipped[-1] ^= 1
    send(gateway, made[1:])
    for number in range(STRETCHES - 1):
        gateway.send(made[0], made[0].segment(number, number + 1))
    gateway.send(made[0], bytes(flipped), made[0].segment(STRETCHES - 1))
    gateway.send(made[0], b"\x86\x0d\x58\x20" + made[0].id + b"rubbish")
    gateway.send(made[1], made[0].segment(1, 2))

    def some_found() -> bool:
        claims = [*gateway.ahead._claims.values()]
        return len(gateway.inbox) < limits.AHEAD_MESSAGES or any(one.found for one in claims)

    at_each_group(lambda: until(some_found))
    gateway.turn()
    assert gateway.ahead.used
    assert gateway.refused() == {"bad-signature": 1, "bad-type": 1, "wrong-device": 1}
    assert max(receipt.to for receipt in gateway.custody(made[0])) == made[0].size


def test_a_killed_process_is_replaced_and_nothing_is_lost(gateway: MemoryGateway) -> None:
    made = robots()
    gateway.know(*made)
    send(gateway, made)
    killed: list[int] = []

    def kill() -> None:
        if not killed:
            until(lambda: bool(gateway.ahead._running))
            killed.append(gateway.ahead._running[0])
            os.kill(killed[0], signal.SIGKILL)

    at_each_group(kill)
    gateway.turn()
    for robot in made:
        assert gateway.custody(robot)[-1].root == robot.root
    until(lambda: gateway.ahead.replaced >= 1 and bool(gateway.ahead._running))
    assert gateway.ahead._running[0] != killed[0]
    # The new one helps.
    before = gateway.ahead.used
    for robot in made:
        for count in range(STRETCHES):
            robot.record(1 + count % 3)
            gateway.send(robot, robot.segment(STRETCHES + count))
    at_each_group(lambda: until(found_for_all(gateway)))
    gateway.turn()
    assert gateway.ahead.used > before
    for robot in made:
        assert gateway.custody(robot)[-1].root == robot.root


class Born(Process):
    """One that is stopped before it can do anything."""

    def __init__(self) -> None:
        super().__init__()
        os.kill(self.pid, signal.SIGSTOP)


class Once(Process):
    """One that is stopped when it has answered."""

    def answer(self) -> list[Folded | None]:
        found = super().answer()
        os.kill(self.pid, signal.SIGSTOP)
        return found


@pytest.mark.parametrize(("kind", "bound"), [(Born, "START"), (Once, "ANSWER")])
def test_a_stopped_process_is_not_waited_for(
    gateway: MemoryGateway, monkeypatch: pytest.MonkeyPatch, kind: type[Process], bound: str
) -> None:
    monkeypatch.setattr(limits, f"AHEAD_{bound}_S_MAX", 0.2)
    monkeypatch.setattr(ahead, "Process", kind)
    made = robots()
    gateway.know(*made)
    send(gateway, made)
    at_each_group(lambda: until(lambda: gateway.ahead.replaced >= 1))
    gateway.turn()
    assert gateway.ahead.used == 0 or kind is Once
    for robot in made:
        assert gateway.custody(robot)[-1].root == robot.root


def test_one_that_starts_slowly_has_its_time_and_later_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "AHEAD_ANSWER_S_MAX", 0.1)
    robot = ACME.device("robot-1")
    robot.record(3)
    key = robot.signer.public_key()
    asked = [Asked([(key.alg, key.raw)], robot.segment())]
    process = Born()
    try:
        threading.Timer(0.3, os.kill, (process.pid, signal.SIGCONT)).start()
        process.ask(asked)
        assert process.answer() == [fold(robot.segment(), [(key.alg, key.raw)])]
        os.kill(process.pid, signal.SIGSTOP)
        process.ask(asked)
        with pytest.raises(Stuck):
            process.answer()
    finally:
        process.end()


def test_what_the_worker_refuses_for_its_size_is_not_handed_over(tmp_path: Path) -> None:
    gateway = MemoryGateway(tmp_path / "gate", ACME)
    robot = ACME.device("robot-1")
    gateway.know(robot)
    begin = b"\x86\x0d\x58\x20" + robot.id
    assert gateway.ahead._known(begin.ljust(SEGMENT_BYTES_MAX, b"\0"))
    assert gateway.ahead._known(begin.ljust(SEGMENT_BYTES_MAX + 1, b"\0")) is None
    gateway.store.close()


def test_a_lie_in_what_was_found_changes_nothing(gateway: MemoryGateway) -> None:
    """Not that a process of ours would: but then the whole segment is looked at."""
    made = robots()
    gateway.know(*made)
    robot = made[0]
    gateway.give(robot, robot.segment(0, 1))
    keys = [(robot.signer.public_key().alg, robot.signer.public_key().raw)]
    data = robot.segment(1, 2)
    folded = fold(data, keys)
    assert folded is not None
    (stretch,) = folded.stretches
    lie = stretch._replace(subtrees=[(level, bytes(32)) for level, _ in stretch.subtrees])
    core = gateway.worker.core
    message = Message(f"tallystick/1/{robot.text}/up", data)
    decided = core.handle(
        message, Instant(time.time_ns() // 1_000_000, 0.0), folded._replace(stretches=[lie])
    )
    assert [type(one).__name__ for one in decided] == ["Appended"]


def test_what_was_found_of_other_bytes_is_not_used(gateway: MemoryGateway) -> None:
    """An answer to another question would have these bytes stored as what they are not."""
    made = robots()
    gateway.know(*made)
    robot = made[0]
    gateway.give(robot, robot.segment(0, 1))
    key = robot.signer.public_key()
    folded = fold(robot.segment(1, 2), [(key.alg, key.raw)])
    core = gateway.worker.core
    other = robot.segment(5, 6)
    for data in (other, other[:36] + b"rubbish"):
        message = Message(f"tallystick/1/{robot.text}/up", data)
        decided = core.handle(message, Instant(time.time_ns() // 1_000_000, 0.0), folded)
        assert "Appended" not in [type(one).__name__ for one in decided]


def decided(gateway: MemoryGateway, robot: Device, data: bytes) -> list[str]:
    """By name, what is decided of a segment with what was found of it."""
    key = robot.signer.public_key()
    folded = fold(data, [(key.alg, key.raw)])
    assert folded is not None
    message = Message(f"tallystick/1/{robot.text}/up", data)
    instant = Instant(time.time_ns() // 1_000_000, 0.0)
    return [type(one).__name__ for one in gateway.worker.core.handle(message, instant, folded)]


def test_what_is_found_of_a_left_epoch_hides_nothing(gateway: MemoryGateway) -> None:
    robot = ACME.device("robot-1")
    robot.counter = 7
    robot.record(3)
    gateway.know(robot)
    gateway.give(robot, robot.segment(0))
    after = robot.new_epoch(b"epoch--2")
    after.counter = 8
    after.record(4)
    gateway.give(after, after.segment(0))
    robot.counter = 9
    robot.record(2)
    assert "Suspected" in decided(gateway, robot, robot.segment(1))


def test_an_answer_to_fewer_than_were_asked_is_none(
    gateway: MemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Process.answer
    monkeypatch.setattr(Process, "answer", lambda *given: answer(*given)[1:])
    made = robots()
    gateway.know(*made)
    send(gateway, made)
    at_each_group(lambda: until(lambda: gateway.ahead.replaced >= 1))
    gateway.turn()
    assert gateway.ahead.used == 0
    for robot in made:
        assert gateway.custody(robot)[-1].root == robot.root


def test_a_system_without_threads_costs_the_help_alone(
    gateway: MemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    made = robots()
    gateway.know(*made)
    send(gateway, made)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        gateway.turn()
    assert gateway.ahead.threads == []
    for robot in made:
        assert gateway.custody(robot)[-1].root == robot.root
    # Not at each turn, and not never again.
    send(gateway, made)
    gateway.ahead.look()
    assert gateway.ahead.threads == []
    monkeypatch.setattr(time, "monotonic", lambda: float("inf"))
    gateway.ahead.look()
    monkeypatch.undo()
    assert len(gateway.ahead.threads) == 1


def test_the_process_has_no_secret_and_is_killed_before_the_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TALLY_PIN", "canary")
    process = Process()
    try:
        process.ask([])
        process.answer()
        environment = Path(f"/proc/{process.pid}/environ").read_bytes()
        killed_first = Path(f"/proc/{process.pid}/oom_score_adj").read_bytes()
    finally:
        process.end()
    assert killed_first == b"1000\n"
    assert b"canary" not in environment
    assert b"PATH=" in environment


def test_nothing_is_imported_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tallystick", "msgspec", "signal", "contextlib"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from here')\n")
    monkeypatch.chdir(tmp_path)
    process = Process()
    try:
        robot = ACME.device()
        robot.record(3)
        public = robot.signer.public_key()
        process.ask([Asked([(public.alg, public.raw)], robot.segment())])
        (found,) = process.answer()
        assert found is not None
    finally:
        process.end()


def test_no_process_runs_at_leisure_or_where_none_is_wanted(tmp_path: Path) -> None:
    for workers, messages in ((1, limits.AHEAD_START_MESSAGES - 1), (0, 200)):
        inbox = Inbox()
        made = Ahead(inbox, workers, "gate")
        for number in range(messages):
            inbox.put(Delivery(Message("t", b"x"), number, 1, 1), lambda: None)
        made.look()
        assert not made.threads
        assert made.told()["running"] == 0
    assert workers_by_default() == max(0, min(len(os.sched_getaffinity(0)) - 1, 16))


def test_long_answers_do_not_block_long_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe holds 64 KiB; each of these portions and answers is far longer."""
    monkeypatch.setattr(limits, "AHEAD_PIPE_BYTES", 0)
    count = 16
    monkeypatch.setattr(limits, "AHEAD_ANSWER_S_MAX", WAIT_S_MAX)
    robot = ACME.device("many-heads")
    for _ in range(64):
        robot.record(20)
    key = robot.signer.public_key()
    asked = [Asked([(key.alg, key.raw)], robot.segment())] * count
    process = Process()
    try:
        for _ in range(3):
            process.ask(asked)
        for _ in range(3):
            found = process.answer()
            assert len(found) == count
            assert all(one is not None and one.to == robot.size for one in found)
            assert sum(len(s.head.data) for one in found if one for s in one.stretches) > 1 << 17
    finally:
        process.end()


def test_signals_to_all_processes_leave_it_and_the_end_of_its_input_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "AHEAD_ANSWER_S_MAX", WAIT_S_MAX)
    robot = ACME.device("robot-1")
    robot.record(3)
    key = robot.signer.public_key()
    asked = [Asked([(key.alg, key.raw)], robot.segment())]
    process = Process()
    try:
        process.ask(asked)
        process.answer()
        os.kill(process.pid, signal.SIGTERM)
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGHUP)
        process.ask(asked)
        assert process.answer() == [fold(robot.segment(), [(key.alg, key.raw)])]
        assert process._process.stdin is not None
        process._process.stdin.close()
        with pytest.raises(Ended):
            process.answer()
    finally:
        process.end()


def filled(count: int) -> Inbox:
    inbox = Inbox()
    inbox.share()
    for number in range(count):
        inbox.put(Delivery(Message("t", b"x"), number, 1, 1), lambda: None)
    return inbox


def looked(inbox: Inbox, most: int = 10, wait_s: float = 0.0) -> list[int]:
    found: list[int] = []
    inbox.ahead(most, wait_s, lambda some: found.extend(one.mid for one in some))
    return found


class Running(list[threading.Thread]):
    """Threads, of which each lives when it comes."""

    def append(self, thread: threading.Thread) -> None:
        assert thread.is_alive()
        super().append(thread)


def test_a_thread_that_only_begins_is_not_one_that_ended(gateway: MemoryGateway) -> None:
    # The gateway ends when one of its threads has ended, and looks each second.
    gateway.ahead.threads = Running()
    robot = ACME.device("robot-1")
    for _ in range(limits.AHEAD_START_MESSAGES):
        robot.record(1)
    gateway.know(robot)
    gateway.send(robot, *robot.segments())
    gateway.ahead.look()
    assert len(gateway.ahead.threads) == 1


def test_the_inbox_shows_what_waits_once_and_keeps_it() -> None:
    group_max = limits.GROUP_SHARED_MAX
    inbox = filled(group_max + 36)
    assert looked(inbox) == []  # nobody works: who comes first takes all
    group = [one.mid for one in inbox.take(0)]
    assert group == list(range(group_max))
    behind = list(range(group_max, group_max + 36))
    assert looked(inbox) == behind[:10]
    assert looked(inbox, 25) == behind[10:35]
    assert looked(inbox) == []  # fewer than are worth it
    assert [one.mid for one in inbox.take(0)] == behind
    for number in range(10):
        inbox.put(Delivery(Message("t", b"x"), number, 1, 1), lambda: None)
    assert looked(inbox, 3) == [0, 1, 2]
    assert [one.mid for one in inbox.take(0)] == list(range(10))
    assert looked(inbox) == []


def test_who_looks_ahead_is_woken() -> None:
    inbox = filled(1)
    inbox.take(0)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend(looked(inbox, 10, WAIT_S_MAX)))
    thread.start()
    for number in range(1, 1 + limits.AHEAD_MESSAGES_MIN):
        inbox.put(Delivery(Message("t", b"x"), number, 1, 1), lambda: None)
    thread.join(WAIT_S_MAX)
    assert found == [1, 2, 3, 4]
    closing = threading.Thread(target=lambda: looked(inbox, 10, WAIT_S_MAX))
    closing.start()
    inbox.close()
    closing.join(WAIT_S_MAX / 3)
    assert not closing.is_alive()
