"""Several processes on one PostgreSQL store: one sequences, another takes over when it dies."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from support.devices import Fleet
from support.validating import Gateway, compress, handover, load, write_config
from tallystick.evidence import batchanswer, checkpoint, receipt
from tallystick.tools.postgres import Postgres
from tallystick.validator import service
from tallystick.validator.ownkeys import close_keys, own_keys
from tallystick.validator.storefaults import StoreAway

S_MAX = 40
HEADERS = {"content-type": "application/cbor", "content-encoding": "zstd"}


def process(path: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", "from tallystick.tools.main import main; main()",
         "validator", "run", "--config", str(path)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip


def said(running: "subprocess.Popen[str]", wanted: str) -> str:
    assert running.stderr is not None
    seen = []
    for line in running.stderr:
        seen.append(line)
        if wanted in line:
            return line
    raise AssertionError("".join(seen))


@contextmanager
def serving(folder: Path, fleet: Fleet, url: str) -> "Iterator[queue.Queue[str]]":
    """The same validator in this process; where it listens each time that it begins to."""
    urls: queue.Queue[str] = queue.Queue()
    stop = threading.Event()
    config = load(folder, [fleet], store=f'"{url}"')
    thread = threading.Thread(target=service.run, args=(config, stop, urls.put))
    thread.start()
    try:
        yield urls
    finally:
        stop.set()
        thread.join(S_MAX)
        assert not thread.is_alive()


def post(url: str, data: bytes) -> httpx2.Response:
    body = compress(data)
    return httpx2.post(f"{url}/v1/batches", content=body, headers=HEADERS, timeout=S_MAX)


def send(url: str, data: bytes) -> bytes:
    answer = post(url, data)
    assert answer.status_code == 200, answer.text
    return answer.content


def story(fleet: Fleet) -> tuple[list[bytes], dict[bytes, bytes]]:
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    for n in range(2):
        handover(giver, receiver, f"order-{n}")
        gateway.take(giver.segment(n, n + 1), receiver.segment(n, n + 1))
    batches = [gateway.batch(0, 2, devices=[giver, receiver]), gateway.batch(2, 4)]
    heads = [s.checkpoint for device in (giver, receiver) for s in device.stretches]
    return batches, {checkpoint.parse(data).digest: data for data in heads}


def test_another_process_takes_over_when_the_sequencer_is_killed(
    tmp_path: Path, fleet: Fleet, postgres: Postgres
) -> None:
    url, folder = postgres.database(), tmp_path / "validator"
    path = write_config(folder, [fleet], store=f'"{url}"')
    batches, statements = story(fleet)
    first = process(path)
    second = None
    try:
        answers = [send(said(first, "listens on").split()[-1], batches[0])]
        second = process(path)
        said(second, "stands-by")
        first.send_signal(signal.SIGKILL)
        first.wait(S_MAX)
        said(second, "takes-over")
        here = said(second, "listens on").split()[-1]
        # What left before the other died holds here, to the byte.
        assert send(here, batches[0]) == answers[0]
        answers.append(send(here, batches[1]))
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            logged = list(
                connection.exec_driver_sql("SELECT data FROM entries ORDER BY entry").scalars()
            )
            claims = connection.exec_driver_sql("SELECT count(*) FROM claims").scalar_one()
        engine.dispose()
        assert claims == 4
        config = load(folder, [fleet], store=f'"{url}"')
        keys = own_keys(config)
        close_keys(keys.signer, keys.notes)
        key = keys.signer.public_key()
        for data in answers:
            for digest, found in batchanswer.parse(data).receipts:
                if digest in statements:
                    verified = receipt.parse(found).verify(statements[digest], key)
                    assert logged[verified.index] == statements[digest]
        second.send_signal(signal.SIGTERM)
        assert second.wait(S_MAX) == 0
    finally:
        for running in (first, second):
            if running is not None:
                running.kill()
                running.communicate()


def test_a_sequencer_that_lost_its_session_begins_anew_from_the_store(
    tmp_path: Path, fleet: Fleet, postgres: Postgres
) -> None:
    url = postgres.database()
    batches, _ = story(fleet)
    with serving(tmp_path / "validator", fleet, url) as urls:
        answer = send(urls.get(timeout=S_MAX), batches[0])
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            # Nobody writes now: it is seen all the same.
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            )
        engine.dispose()
        again = urls.get(timeout=S_MAX)
        assert send(again, batches[0]) == answer
        assert batchanswer.parse(send(again, batches[1])).refused == []


def test_a_server_that_restarts_is_waited_for(tmp_path: Path, fleet: Fleet) -> None:
    batches, _ = story(fleet)
    with Postgres() as own:
        url = own.database()
        with serving(tmp_path / "validator", fleet, url) as urls:
            answer = send(urls.get(timeout=S_MAX), batches[0])
            own.kill()
            own.start()
            here = urls.get(timeout=S_MAX)
            assert send(here, batches[0]) == answer
            assert batchanswer.parse(send(here, batches[1])).refused == []


def test_one_that_stands_by_waits_for_a_server_that_restarts(tmp_path: Path, fleet: Fleet) -> None:
    batches, _ = story(fleet)
    waits, stop = threading.Event(), threading.Event()
    taken: queue.Queue[str] = queue.Queue()
    with Postgres() as own:
        url, folder = own.database(), tmp_path / "validator"
        with serving(folder, fleet, url) as urls:
            answer = send(urls.get(timeout=S_MAX), batches[0])
            config = load(folder, [fleet], store=f'"{url}"')
            thread = threading.Thread(
                target=lambda: service.run(config, stop, taken.put, stands_by=waits.set)
            )
            thread.start()
            assert waits.wait(S_MAX)
            own.kill()
            # So that it is seen to be away by the one that waits.
            time.sleep(3 * service.STAND_BY_S)
            own.start()
        # The first has gone, whichever of the two served meanwhile.
        here = taken.get(timeout=S_MAX)
        assert send(here, batches[0]) == answer
        stop.set()
        thread.join(S_MAX)
        assert not thread.is_alive()


def test_a_store_that_is_away_when_it_would_begin_anew_is_waited_for(
    tmp_path: Path, fleet: Fleet, postgres: Postgres
) -> None:
    url = postgres.database()
    name = sa.make_url(url).database
    batches, _ = story(fleet)
    engine = sa.create_engine(postgres.url(), isolation_level="AUTOCOMMIT")
    with capture_logs() as told, serving(tmp_path / "validator", fleet, url) as urls:
        answer = send(urls.get(timeout=S_MAX), batches[0])
        with engine.connect() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            )
            until = time.monotonic() + S_MAX
            while not any(one["event"] == "store-away" for one in told):
                assert time.monotonic() < until
                time.sleep(0.01)
            connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert send(urls.get(timeout=S_MAX), batches[0]) == answer
    engine.dispose()


def test_a_server_that_is_away_at_the_start_is_an_error(tmp_path: Path, fleet: Fleet) -> None:
    config = load(
        tmp_path / "v",
        [fleet],
        store=f'"postgresql+psycopg://tally:correct%20horse@/acme?host={tmp_path}"',
    )
    with pytest.raises(StoreAway) as error:
        service.run(config, threading.Event())
    assert "horse" not in str(error.value)
