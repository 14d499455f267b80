"""Workers verify ahead of the sequencer: the same log, the same answers, nothing twice."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
import zstandard
from structlog.testing import capture_logs

from support.crew import S_MAX, Crew, same_keys
from support.devices import Fleet
from support.keychanges import revoke
from support.site import until
from support.validating import Gateway, Room, compress, handover
from tallystick.evidence import batchanswer, keychange
from tallystick.evidence.errors import TallyError
from tallystick.tools.postgres import Postgres
from tallystick.validator import steps
from tallystick.validator._postgresql import for_worker
from tallystick.validator.ingestduty import IngestDuty
from tallystick.validator.lanes import STRANGERS
from tallystick.validator.sequencer import Sequencer
from tallystick.validator.workers import Worker

HERE = Path(__file__).parent
BOMB = zstandard.ZstdCompressor().compress(bytes(64 << 20))


@pytest.fixture(autouse=True)
def short_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of a test are short, and handed over all the same; a machine may be slow."""
    monkeypatch.setattr("tallystick.validator.inbox.INBOX_BATCH_BYTES_MIN", 1)
    monkeypatch.setattr("tallystick.validator.workers.WORKER_SILENT_S", 600)


@pytest.fixture
def crew(tmp_path: Path, fleet: Fleet, postgres: Postgres) -> Iterator[Crew]:
    made = Crew(tmp_path / "crew", [fleet, Fleet("borealis")], postgres.database())
    made.begin()
    yield made
    steps.on_step(None)
    made.close()


def broken(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def story(fleet: Fleet, count: int = 4) -> list[bytes]:
    """Batches of handovers, one of them with bad segments among good ones, compressed."""
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    others = [fleet.device(f"c{n}") for n in range(4)]
    batches = []
    for n in range(count):
        giver.record(3)
        handover(giver, receiver, f"order-{n}")
        giver.custody = None
        receipt = gateway.custody(giver, gateway.time_ms)
        giver.record(1)
        first = len(gateway.items)
        at = 3 * n
        gateway.take(giver.segment(at, at + 3), receiver.segment(n, n + 1))
        for nth, other in enumerate(others):
            other.record(2)
            # Where it is one that a gateway can log: a record, a signature, a seed.
            data = other.segment(n, n + 1)
            gateway.take(broken(data, (70, len(data) - 3)[nth % 2]) if n == 1 else data)
        known = [giver, receiver, *others] if not n else []
        batches.append(gateway.batch(first, devices=known, receipts=[receipt]))
    return [compress(data) for data in batches]


def entries(sequencer: Sequencer) -> list[bytes]:
    with sequencer.store.read() as connection:
        return list(connection.exec_driver_sql("SELECT data FROM entries ORDER BY entry").scalars())


def alone(
    tmp_path: Path, fleets: list[Fleet], batches: list[bytes]
) -> tuple[list[object], list[bytes]]:
    """Answers and log of one process that does everything, with the same keys."""
    room = Room(same_keys(tmp_path / "alone", tmp_path / "crew"), fleets)
    try:
        found: list[object] = []
        for data in batches:
            try:
                found.append(room.sequencer._batch(data, None))
            except TallyError as error:
                found.append((error.reason, error.message))
            room.settle()
        return found, entries(room.sequencer)
    finally:
        room.close()


def test_the_log_and_the_answers_are_those_of_one_process(
    crew: Crew, tmp_path: Path, fleet: Fleet
) -> None:
    batches = [*story(fleet), BOMB, compress(b"no batch")]
    with capture_logs() as said:
        answers = crew.answers(batches)
    assert [one["event"] for one in said if "looked" in one["event"]] == []
    told = crew.inbox.told()
    assert (told.used, told.too_late, told.waiting) == (len(batches) - 1, 0, 0)
    refused = [batchanswer.parse(one).refused for one in answers[:4] if isinstance(one, bytes)]
    assert [len(found) for found in refused] == [0, 4, 4, 4]
    assert [one[0] for one in answers[4:]] == ["too-large", "bad-type"]  # type: ignore[index]
    logged = entries(crew.sequencer)
    # A batch that is sent again: its answer, and nothing else happens.
    assert crew.answers(batches[:3]) == answers[:3]
    assert entries(crew.sequencer) == logged
    assert alone(tmp_path, [fleet, Fleet("borealis")], batches) == (answers, logged)


def test_a_worker_of_another_version_is_not_believed(
    crew: Crew, tmp_path: Path, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of an upgrade: what it called good is verified again."""
    batches = story(fleet)
    futures = crew.hand_in(batches)
    with monkeypatch.context() as patch:
        patch.setattr("tallystick.validator.ahead.PROGRAM", bytes(32))
        while crew.worker.turn():
            pass
    until(lambda: crew.inbox.told().looked_at == 3, "not collected")
    for _ in futures:
        crew.sequencer.turn(0)
    answers: list[object] = [future.result(0) for future in futures]
    assert (crew.inbox.told().used, crew.inbox.told().too_late) == (0, 3)
    logged = entries(crew.sequencer)
    assert alone(tmp_path, [fleet, Fleet("borealis")], batches) == (answers, logged)


def test_two_workers_never_take_the_same_batch(crew: Crew, fleet: Fleet) -> None:
    """While one looks at a batch, each other one takes the next one, or finds none."""
    batches = story(fleet, 3)
    second = for_worker(crew.server)
    duty = IngestDuty()
    turns: list[int] = []

    def meanwhile(step: str) -> None:
        if step == steps.LOCKED and not turns:
            turns.append(0)
            # The batches wait for good: one is never copied, one is taken, so one is left.
            turns[:] = [duty.turn(second), duty.turn(second)]

    futures = crew.hand_in(batches)
    steps.on_step(meanwhile)
    try:
        assert crew.worker.turn() == 1
    finally:
        steps.on_step(None)
        second.dispose()
    assert turns == [1, 0]
    until(lambda: crew.inbox.told().looked_at == 2, "not collected")
    for future in futures:
        crew.sequencer.turn(0)
        assert future.done()
    assert crew.inbox.told().used == 2


@pytest.mark.parametrize("point", [steps.LOCKED, steps.LOOKED, steps.HANDED])
def test_where_a_worker_is_killed_another_one_goes_on(crew: Crew, fleet: Fleet, point: str) -> None:
    batches = story(fleet)
    futures = crew.hand_in(batches)
    with stopping(crew, point, signal.SIGKILL) as dying:
        assert dying.wait(S_MAX) == -signal.SIGKILL
        done = 1 if point == steps.HANDED else 0
        until(lambda: crew.inbox.told().looked_at == done, "not collected")
        # The server finds out that its client is gone, and gives the batch free, in its own time.
        until(lambda: turned(crew.worker) and crew.inbox.told().looked_at == 3, "not given free")
    for future in futures:
        crew.sequencer.turn(0)
        assert batchanswer.parse(future.result(0)).size
    told = crew.inbox.told()
    assert (told.used, told.too_late, crew.count()) == (3, 0, 0)


def test_a_worker_that_hangs_holds_up_nobody(crew: Crew, tmp_path: Path, fleet: Fleet) -> None:
    """Stopped in the middle of a batch: the writer takes that one without facts, at once."""
    batches = story(fleet)
    futures = crew.hand_in(batches)
    with stopping(crew, steps.LOCKED, signal.SIGSTOP) as hanging:
        assert os.waitpid(hanging.pid, os.WUNTRACED)[1] & 0xFF == 0x7F  # it is stopped
        while crew.worker.turn():
            pass
        until(lambda: crew.inbox.told().looked_at == 2, "not collected")
        for _ in futures:
            crew.sequencer.turn(0)
        answers: list[object] = [future.result(0) for future in futures]
        told = crew.inbox.told()
        assert (told.used, told.too_late, told.waiting) == (2, 1, 0)
        logged = entries(crew.sequencer)
        assert alone(tmp_path, [fleet, Fleet("borealis")], batches) == (answers, logged)
        # The next ones are looked at all the same; what it holds lies there until it ends.
        assert crew.answers(batches[1:]) == answers[1:]
        until(lambda: crew.count() == 1, "more left than what is held")
        hanging.kill()
        until(lambda: crew.count() == 0, "left behind")


def test_without_workers_nothing_is_copied(crew: Crew, fleet: Fleet) -> None:
    crew.worker.close()
    until(lambda: crew.inbox.told().workers == 0, "still counted")
    futures = [crew.sequencer.submit(data, "acme") for data in story(fleet)]
    until(lambda: crew.inbox.told().waiting == 0, "kept for nobody")
    for future in futures:
        crew.sequencer.turn(0)
        assert batchanswer.parse(future.result(0)).size
    assert crew.inbox.told().used == crew.count() == 0


def test_who_waits_no_more_leaves_nothing(crew: Crew, fleet: Fleet) -> None:
    """Clients that go, and a stop of the sequencer: what is in the table is nobody's."""
    batches = story(fleet)
    futures = crew.hand_in(batches)
    for future in futures[1:3]:
        assert future.cancel()
    until(lambda: crew.count() == 1, "kept for who has gone")
    crew.worker.turn()
    assert futures[3].cancel()
    until(lambda: crew.count() == 0, "kept for who has gone")
    assert crew.inbox.told().waiting == 0


def test_the_next_sequencer_clears_what_the_last_one_left(
    crew: Crew, tmp_path: Path, fleet: Fleet
) -> None:
    """Taken over with batches in the inbox: they are sent again, and are nobody's till then."""
    batches = story(fleet)
    futures = crew.hand_in(batches)
    crew.sequencer.turn(0)
    crew.worker.turn()
    # As where it was killed: nobody tidies up.
    crew.inbox.stop()
    crew.sequencer.stop()
    assert [future.exception() is None for future in futures] == [True, False, False, False]
    other = Crew(tmp_path / "crew", [fleet, Fleet("borealis")], str(crew.url))
    try:
        assert other.count() > 0
        other.begin()
        until(lambda: other.count() == 0, "left behind")
        answers = other.answers(batches)
        assert answers[0] == futures[0].result()
        assert all(isinstance(answer, bytes) for answer in answers)
        assert alone(tmp_path, [fleet, Fleet("borealis")], batches) == (
            answers,
            entries(other.sequencer),
        )
    finally:
        other.close()


def test_a_key_that_is_revoked_meanwhile_counts_as_revoked(
    crew: Crew, tmp_path: Path, fleet: Fleet
) -> None:
    """Its signatures are facts; what they are worth is asked when their turn comes."""
    device, gateway, other = fleet.device(), Gateway(fleet), Gateway(fleet, "second")
    for n in range(3):
        device.record(2)
        gateway.take(device.segment(n, n + 1))
    other.take(device.segment(0, 1))
    first = compress(gateway.batch(0, 1, devices=[device]))
    head = device.stretches[0]
    device.credential = revoke(
        device, keychange.LOST, [device.epoch, head.to, device.tree(head.to).root()]
    )
    batches = [first, compress(other.batch(devices=[device])), compress(gateway.batch(1))]
    answers = crew.answers(batches)
    assert crew.inbox.told().used == 2
    last = answers[2]
    assert isinstance(last, bytes)
    assert batchanswer.parse(last).refused == [(1, "revoked"), (2, "revoked")]
    logged = entries(crew.sequencer)
    assert alone(tmp_path, [fleet, Fleet("borealis")], batches) == (answers, logged)


def test_a_flood_of_one_fleet_is_looked_at_in_its_turn(crew: Crew, fleet: Fleet) -> None:
    """And takes no more room than is one fleet's."""
    batch = story(fleet, 1)[0]
    crew.sequencer.submit(batch, "acme")
    flood = [crew.sequencer.submit(batch, "acme") for _ in range(8)]
    single = crew.sequencer.submit(batch, "borealis")
    until(lambda: crew.count() == 9, "not copied")
    crew.worker.turn()
    crew.worker.turn()
    crew.worker.turn()
    copies = list(crew.inbox._copies.values())
    until(lambda: sum(copy.facts is not None for copy in copies) == 3, "not collected")
    assert [copy.facts is not None for copy in copies] == [True, True, *[False] * 6, True]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tallystick.validator.inbox.INBOX_BATCH_BYTES_MIN", len(batch))
        assert crew.inbox.offer(batch[:-1], "dock") is None
        assert crew.inbox.offer(batch, STRANGERS) is None
        patch.setattr("tallystick.validator.inbox.INBOX_LANE_BYTES_MAX", 9 * len(batch))
        patch.setattr("tallystick.validator.inbox.INBOX_BYTES_MAX", 11 * len(batch))
        assert crew.inbox.offer(batch, "acme") is not None
        assert crew.inbox.offer(batch, "acme") is None
        assert crew.inbox.offer(batch, "borealis") is not None
        assert crew.inbox.offer(batch, "cygnus") is None
    for future in (*flood, single):
        future.cancel()


def test_a_quota_holds_ahead_too(tmp_path: Path, fleet: Fleet, postgres: Postgres) -> None:
    tables = "\n[quotas.gateway]\nrecords_per_s = 1\nburst_s = 1\n"
    crew = Crew(tmp_path / "crew", [fleet], postgres.database(), tables)
    crew.begin()
    try:
        answers = crew.answers(story(fleet, 3))
        assert isinstance(answers[0], bytes)
        reasons = [answer[0] for answer in answers[1:]]  # type: ignore[index]
        assert reasons == ["over-quota", "gateway-gap"]
        assert crew.inbox.told().used == 2
    finally:
        crew.close()


def test_a_session_that_is_lost_is_made_anew(crew: Crew, fleet: Fleet) -> None:
    """The inbox's own: the writer goes on meanwhile, and copies are made again after."""
    batches = story(fleet)
    engine = sa.create_engine(crew.url, isolation_level="AUTOCOMMIT")
    with capture_logs() as said, engine.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND datname = current_database() "
            "AND pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')"
        )
        until(lambda: "inbox-away" in [one["event"] for one in said], "not missed")
    engine.dispose()
    futures = [crew.sequencer.submit(data, "acme") for data in batches]
    for future in futures:
        crew.sequencer.turn(0)
        assert batchanswer.parse(future.result(0)).size
    until(lambda: turned(crew.worker), "the worker's session is not made anew")
    until(lambda: crew.inbox.told().workers == 1, "not seen again")
    assert len(crew.answers(batches)) == 4
    assert crew.inbox.told().used == 3


def turned(worker: Worker) -> bool:
    try:
        worker.turn()
    except sa.exc.DBAPIError:
        return False
    return True


@contextmanager
def stopping(crew: Crew, point: str, how: signal.Signals) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker process that stops itself at a step."""
    running = subprocess.Popen(
        [sys.executable, HERE / "_stopping_worker.py", HERE, crew.url, point, str(int(how))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    try:
        yield running
    finally:
        running.kill()
        running.wait(S_MAX)
