"""Killed between sequencing, integrating, publishing, answering (F16), and at each of them."""

import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.devices import Fleet
from support.validating import Clock, Gateway, Room, handover, write_config
from tallystick.evidence import batchanswer, checkpoint, receipt
from tallystick.evidence.batchanswer import BatchAnswer
from tallystick.evidence.errors import CouldNotCheck, Malformed
from tallystick.validator import steps
from tallystick.validator._postgresql import is_free
from tallystick.validator.place import Place, Server, parse_place
from tallystick.validator.store import Store, StoreBusy

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
DEAD = 86
STEPS = [
    steps.SEQUENCED,
    steps.INTEGRATED,
    steps.SIGNED,
    steps.PUBLISHED,
    steps.ANSWERED,
]


def crash(
    folder: Path, point: str, nth: int, batches: list[bytes], store: str = "validator.sqlite"
) -> list[BatchAnswer]:
    """Run until it dies; the answers that left."""
    paths = [
        ROOT / "tests",
        *(ROOT / n for n in ("firmware", "hw", "gateway", "validator", "tools")),
    ]
    ran = subprocess.run(
        [sys.executable, HERE / "_crashing.py", folder, point, str(nth), store],
        input=b"".join(struct.pack(">I", len(data)) + data for data in batches),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        timeout=60,
        check=False,
    )
    assert ran.returncode in {0, DEAD}, ran.stderr.decode()
    answers, rest = [], ran.stdout
    while rest:
        (size,) = struct.unpack(">I", rest[:4])
        answers.append(batchanswer.parse(rest[4 : 4 + size]))
        rest = rest[4 + size :]
    return answers


def wait_until_free(place: Place) -> None:
    """Until a server noticed that its client died; a file's lock ends with its holder."""
    while isinstance(place, Server) and not is_free(place):
        time.sleep(0.01)


def story(fleet: Fleet) -> tuple[list[bytes], dict[bytes, bytes]]:
    """Three batches, and the statements that they hold, by digest."""
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    for n in range(3):
        giver.record(2)
        handover(giver, receiver, f"order-{n}")
        gateway.take(giver.segment(2 * n, 2 * n + 2), receiver.segment(n, n + 1))
    batches = [
        gateway.batch(first, first + 2, devices=[giver, receiver] if not first else [])
        for first in (0, 2, 4)
    ]
    heads = [s.checkpoint for device in (giver, receiver) for s in device.stretches]
    return batches, {checkpoint.parse(data).digest: data for data in heads}


def entries(room: Room) -> list[bytes]:
    return [row[0] for row in room.rows("SELECT data FROM entries ORDER BY entry")]


@pytest.mark.parametrize(
    ("point", "nth", "store"),
    [
        *((point, nth, "sqlite") for nth in (1, 2, 3) for point in STEPS),
        *((point, 2, "postgresql") for point in (steps.SEQUENCED, steps.INTEGRATED, steps.SIGNED)),
    ],
    indirect=["store"],
)
def test_no_index_is_given_twice_and_no_receipt_comes_before_its_checkpoint(
    tmp_path: Path, point: str, nth: int, store: str
) -> None:
    fleet = Fleet("acme")
    batches, statements = story(fleet)
    folder = tmp_path / "validator"
    answers = crash(folder, point, nth, batches, store)
    wait_until_free(parse_place(store, folder))
    room = Room(folder, [fleet], Clock(), store=store)
    try:
        key = room.sequencer.keys.signer.public_key()
        logged = entries(room)
        published = dict(room.rows("SELECT size, root FROM heads"))
        # What left before the crash holds after it.
        for answer in answers:
            for digest, data in answer.receipts:
                made = receipt.parse(data)
                if digest in statements:
                    verified = made.verify(statements[digest], key)
                    assert published[verified.size] == verified.root
                    assert logged[verified.index] == statements[digest]
        # Everything is published again after the start, and the log only grew.
        assert max(published) == len(logged)
        again = [room.send(data) for data in batches]
        room.settle()
        assert all(answer.refused == [] for answer in again)
        for before, after in zip(answers, again, strict=False):
            assert before == after
        assert entries(room)[: len(logged)] == logged
        assert room.rows("SELECT count(*), count(DISTINCT claim) FROM claims") == [(6, 6)]
        assert room.rows("SELECT sum(decisions) FROM identities") == [(6,)]
        assert room.states() == {"matched": 3}
        assert room.rows("SELECT count(*) FROM verdicts") == [(3,)]
    finally:
        room.close()


@pytest.mark.databases
def test_a_second_sequencer_on_one_store_is_refused(room: Room, fleet: Fleet, store: str) -> None:
    """F18: the second says so; the first goes on."""
    with pytest.raises(StoreBusy) as error:
        Room(room.folder, [fleet], store=store)
    assert "one log has one" in str(error.value)
    device, gateway = fleet.device(), Gateway(fleet)
    device.record(3)
    gateway.take(device.segment())
    assert room.send(gateway.batch(devices=[device])).refused == []


def test_a_newer_store_is_refused_and_unchanged(tmp_path: Path, fleet: Fleet) -> None:
    room = Room(tmp_path / "validator", [fleet])
    with room.sequencer.store.write() as connection:
        connection.exec_driver_sql("UPDATE meta SET value = '99' WHERE name = 'schema'")
    room.close()
    before = (tmp_path / "validator" / "validator.sqlite").read_bytes()
    with pytest.raises(Malformed, match="newer tallystick"):
        room.open()
    assert (tmp_path / "validator" / "validator.sqlite").read_bytes() == before


def test_a_store_that_lost_published_entries_is_not_run(tmp_path: Path, fleet: Fleet) -> None:
    room = Room(tmp_path / "validator", [fleet])
    device, gateway = fleet.device(), Gateway(fleet)
    device.record(3)
    gateway.take(device.segment())
    room.send(gateway.batch(devices=[device]))
    with room.sequencer.store.write() as connection:
        connection.exec_driver_sql("DELETE FROM entries WHERE entry > 3")
    room.close()
    with pytest.raises(CouldNotCheck, match="a log never shrinks"):
        room.open()
    with pytest.raises(CouldNotCheck):
        room.open()


def test_entries_that_were_changed_are_found_at_the_start(tmp_path: Path, fleet: Fleet) -> None:
    room = Room(tmp_path / "validator", [fleet])
    with room.sequencer.store.write() as connection:
        connection.exec_driver_sql("UPDATE entries SET leaf = zeroblob(32) WHERE entry = 0")
        connection.exec_driver_sql("UPDATE nodes SET hash = zeroblob(32)")
    room.close()
    with pytest.raises(CouldNotCheck, match="do not give the root"):
        room.open()


def test_another_name_on_one_store_is_refused(tmp_path: Path, fleet: Fleet) -> None:
    from support.validating import load
    from tallystick.validator.sequencer import Sequencer

    Room(tmp_path / "validator", [fleet]).close()
    config = load(tmp_path / "validator", [fleet], origin='"other.example/log"')
    with pytest.raises(Malformed, match="one name for life"):
        Sequencer(config)


def test_a_foreign_file_is_no_store(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "x.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE meta (name TEXT, value TEXT)")
    with pytest.raises(Malformed, match="no validator's store"):
        Store(path)


def test_a_full_disk_answers_503_and_recovers(room: Room, fleet: Fleet) -> None:
    """SQLite's own limit on pages stands in for a disk that is full."""
    import sqlalchemy as sa
    from sqlalchemy.exc import OperationalError

    device, gateway = fleet.device(), Gateway(fleet)
    device.record(400)
    gateway.take(device.segment())
    data = gateway.batch(devices=[device])
    size = room.sequencer.log.tree.size
    with room.sequencer.store.write() as connection:
        pages = connection.execute(sa.text("PRAGMA page_count")).scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    from support.validating import compress

    sequencer = room.sequencer
    sequencer.start()
    future = sequencer.submit(compress(data))
    error = future.exception(10)
    assert getattr(error, "reason", None) == "store-full"
    assert sequencer.log.tree.size == size
    with sequencer.store._base.writer.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    answer = batchanswer.parse(sequencer.submit(compress(data)).result(60))
    assert answer.refused == []
    assert sequencer.failure is None
    assert not isinstance(error, OperationalError)


# No file can grow when it starts, as on a full disk; then there is room again.
_STARTED_ON_A_FULL_DISK = """
import resource, sys, threading
from pathlib import Path
from tallystick.validator import config, service

bounds = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, bounds[1]))
stop, ready, tries = threading.Event(), threading.Event(), threading.Semaphore(0)
running = threading.Thread(
    target=service.run,
    args=(config.load(Path(sys.argv[1])), stop, lambda _: ready.set()),
    kwargs={"alive": tries.release},
)
running.start()
for _ in range(4):
    tries.acquire(timeout=60)
print(running.is_alive(), ready.is_set())
resource.setrlimit(resource.RLIMIT_FSIZE, bounds)
print(ready.wait(60))
stop.set()
running.join(60)
"""


def test_a_start_on_a_full_disk_waits_for_room(tmp_path: Path, fleet: Fleet) -> None:
    path = write_config(tmp_path, [fleet])
    ran = subprocess.run(
        [sys.executable, "-c", _STARTED_ON_A_FULL_DISK, str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        timeout=100,
        check=False,
    )
    said = ran.stdout.splitlines()
    assert (ran.returncode, said[-2:]) == (0, ["True False", "True"]), ran.stderr[-2000:]
    assert "store-away" in said[0]
