"""Workers beside a sequencer: nothing is done twice, lost, waited for, or signed too late."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import httpx2
import pytest
import sqlalchemy as sa

from support.beside import Beside, alone, crowd, due, finish, given, last_findings
from support.devices import Fleet
from support.validating import HANDOVER, Room, compress, load, write_config
from tallystick.evidence.errors import CouldNotCheck, Malformed
from tallystick.tools.postgres import Postgres
from tallystick.tools.validator_worker import command
from tallystick.validator import steps
from tallystick.validator.crew import Crew
from tallystick.validator.limits import (
    LANE_WAITING_MAX,
    PORTION_SETS_MAX,
    PORTION_WAIT_S,
    PORTIONS_ALONE_S,
    WORKER_STOPPED_MS_MAX,
)
from tallystick.validator.place import Server, parse_place
from tallystick.validator.reconcileduty import ReconcileDuty
from tallystick.validator.workers import Worker
from tallystick.verify.proving import Prosecution
from validator.test_own_logs import copy_of, evidence_of
from validator.test_takeover import process, said

S_MAX = 60
# Attempts are counted by what no rollback takes back.
COUNTING = """
CREATE SEQUENCE tried;
CREATE FUNCTION trying() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN PERFORM nextval(''tried''); RETURN NEW; END';
CREATE TRIGGER trying BEFORE INSERT ON proposals FOR EACH ROW EXECUTE FUNCTION trying();
CREATE TABLE made (portion bigint, sets bytea);
CREATE FUNCTION making() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN INSERT INTO made VALUES (NEW.portion, NEW.found); RETURN NEW; END';
CREATE TRIGGER making AFTER INSERT ON proposals FOR EACH ROW EXECUTE FUNCTION making();
"""


def until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + S_MAX
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def test_two_workers_and_a_sequencer_give_what_one_process_gives(
    tmp_path: Path, fleet: Fleet, postgres: Postgres
) -> None:
    url = postgres.database()
    batches = crowd(fleet, 500, 1)
    room = Room(tmp_path / "many", [fleet], store=url)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(COUNTING)
    portions = room.sequencer.reconciler.portions
    assert portions is not None
    with Crew(command(tmp_path / "many" / "validator.toml"), 2):
        until(lambda: len(alive(engine)) == 2, "two workers")
        room.sequencer.start()
        until(lambda: portions.living == 2, "they are seen")
        waiting: deque[Future[bytes]] = deque()
        for batch in batches:
            if len(waiting) == LANE_WAITING_MAX:
                waiting.popleft().result(S_MAX)
            waiting.append(room.sequencer.submit(compress(batch)))
        for future in waiting:
            future.result(S_MAX)
        until(lambda: due(room) == 0, "the findings")
        room.clock.now_ms += 2 * HANDOVER.deadline_ms
        late = "SELECT count(*) FROM party_sets WHERE state = 'pending'"
        until(lambda: room.rows(late) == [(0,)], "the deadlines")
        until(lambda: due(room) == 0, "the last findings")
        with engine.connect() as connection:
            tried = connection.exec_driver_sql("SELECT last_value FROM tried").scalar_one()
            made, distinct = connection.exec_driver_sql(
                "SELECT count(*), count(DISTINCT portion) FROM made"
            ).one()
        assert tried == made == distinct > 0
    engine.dispose()
    one = Room(tmp_path / "one", [fleet])
    for batch in batches:
        one.send(batch)
    one.settle()
    one.clock.now_ms += 2 * HANDOVER.deadline_ms
    one.settle()
    assert last_findings(room) == last_findings(one)
    files = [evidence_of(room, f"order-{n}") for n in range(0, 500, 50)]
    assert list(Prosecution([copy_of(room)], files).all()) == []
    one.close()
    room.close()


def alive(engine: sa.Engine) -> dict[str, int]:
    """How many sets each worker did."""
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT worker, done FROM workers WHERE duty = 'reconcile'"
        )
        return {row.worker: row.done for row in rows}


# --- by hand -------------------------------------------------------------------------------


@pytest.fixture
def room(tmp_path: Path, fleet: Fleet, postgres: Postgres) -> Iterator[Beside]:
    made = Beside(tmp_path / "validator", [fleet], store=postgres.database())
    yield made
    steps.on_step(None)
    made.close()


@pytest.fixture
def stopping(room: Beside) -> Iterator[Callable[[str, int], int]]:
    """A worker that gets a signal at a step; its process id."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("_worker_stopping.py")), room.store],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    pids = []

    def at(point: str, number: int) -> int:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{point} {number}\n")
        process.stdin.flush()
        pids.append(int(process.stdout.readline()))
        return pids[-1]

    yield at
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.stdin.close()
    process.wait(S_MAX)
    process.stdout.close()


def test_who_is_killed_loses_nothing_and_who_is_stopped_blocks_nobody(
    room: Beside, tmp_path: Path, fleet: Fleet, stopping: Callable[[str, int], int]
) -> None:
    batches = crowd(fleet, 150, 2)
    expected = alone(tmp_path / "alone", fleet, batches)
    given(room, batches)
    out = room.portions.out
    for point in (steps.TAKEN, steps.COMPUTED, steps.PROPOSED):
        stopping(point, signal.SIGKILL)
    assert room.proposed() == 0
    stopped = stopping(steps.PROPOSED, signal.SIGSTOP)
    # Another one does all but what the stopped one has; the sequencer waits for nobody.
    assert room.work() == out - PORTION_SETS_MAX
    finish(room)
    assert room.portions.out == PORTION_SETS_MAX
    room.portions.monotonic = lambda: PORTION_WAIT_S + 0.1
    with room.sequencer.store.write() as connection:
        connection.exec_driver_sql("SET LOCAL lock_timeout = 1")
    finish(room)
    assert due(room) == 0
    assert last_findings(room) == expected
    size = room.sequencer.log.tree.size
    # What it proposes when it goes on is of a portion that nobody waits for.
    os.kill(stopped, signal.SIGCONT)
    until(lambda: room.proposed() == 1, "the late proposal")
    room.portions.monotonic = lambda: PORTION_WAIT_S + PORTIONS_ALONE_S + 1.0
    room.propose_all()
    room.settle()
    assert room.proposed() == 0
    assert (last_findings(room), room.sequencer.log.tree.size) == (expected, size)


def test_a_sequencer_that_takes_over_signs_nothing_that_was_given_away_before(
    room: Beside, tmp_path: Path, fleet: Fleet, stopping: Callable[[str, int], int]
) -> None:
    batches = crowd(fleet, 200, 3)
    expected = alone(tmp_path / "alone", fleet, batches)
    given(room, batches[:-1])
    stopped = stopping(steps.PROPOSED, signal.SIGSTOP)
    room.workers[0].turn()
    engine = sa.create_engine(room.store, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
        )
    engine.dispose()
    with pytest.raises(sa.exc.DBAPIError):
        room.sequencer.reconciler.tick()
    held = [row[0] for row in room.rows("SELECT portion FROM portions")]
    assert len(held) > 1
    room.sequencer.stop()
    room.open()
    # The stopped one's row is there still, and its number is not given again.
    assert room.rows("SELECT portion FROM portions") == [(min(held),)]
    assert room.proposed() == 0
    Room.send(room, batches[-1])
    assert room.tick() > 0
    assert min(room.portions._out) > max(held)
    os.kill(stopped, signal.SIGCONT)
    until(lambda: room.proposed() == 1, "the late proposal")
    room.settle()
    assert last_findings(room) == expected


def test_a_stopped_session_ends_by_itself(room: Beside) -> None:
    with room.workers[0]._engine.begin() as connection:
        found = connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout")
        assert found.scalar_one() == f"{WORKER_STOPPED_MS_MAX // 1000}s"


def test_a_validator_starts_its_workers_again_and_ends_them(
    tmp_path: Path, fleet: Fleet, postgres: Postgres
) -> None:
    url = postgres.database()
    path = write_config(tmp_path / "validator", [fleet], store=f'"{url}"', workers=1)
    running = process(path)
    engine = sa.create_engine(url)
    try:
        here = said(running, "listens on").split()[-1]
        until(lambda: len(alive(engine)) == 1, "its worker")
        (first,) = alive(engine)
        pid = int(first.split("-")[-2])
        os.kill(pid, signal.SIGKILL)
        until(lambda: len(alive(engine)) == 2, "another")
        until(
            lambda: (
                httpx2.get(f"{here}/readyz", timeout=S_MAX).json()["reconciling"]["workers"] > 0
            ),
            "it",
        )
        (second,) = set(alive(engine)) - {first}
        running.send_signal(signal.SIGTERM)
        assert running.wait(S_MAX) == 0
        # It said farewell; who was killed could not.
        assert set(alive(engine)) == {first}
        with pytest.raises(ProcessLookupError):
            os.kill(int(second.split("-")[-2]), 0)
    finally:
        running.kill()
        running.communicate()
        engine.dispose()


def test_workers_are_for_a_server_and_wait_for_its_store(
    tmp_path: Path, fleet: Fleet, postgres: Postgres
) -> None:
    with pytest.raises(Malformed, match="PostgreSQL takes any number"):
        load(tmp_path / "v", [fleet], workers=1)
    with pytest.raises(Malformed, match="0 to 64"):
        load(tmp_path / "v", [fleet], workers=65, store='"postgresql+psycopg://t@/t"')
    empty = parse_place(postgres.database(), tmp_path)
    assert isinstance(empty, Server)
    with pytest.raises(CouldNotCheck, match="no validator has made its store yet"):
        Worker(empty, [ReconcileDuty()]).turn()
    away = parse_place(f"postgresql+psycopg://tally@/acme?host={tmp_path}", tmp_path)
    assert isinstance(away, Server)
    with pytest.raises(CouldNotCheck, match="acme"):
        Worker(away, [ReconcileDuty()]).run()
