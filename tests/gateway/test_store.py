"""The store: what a COMMIT promises, who may open it, and what a failing disk leads to."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from support.devices import Fleet
from support.gateways import MemoryGateway
from support.site import until
from tallystick.evidence.errors import CouldNotCheck, Malformed
from tallystick.evidence.tree import Tree
from tallystick.gateway import limits, store
from tallystick.gateway.gatewaylog import GatewayLog, read_node, tree_at
from tallystick.gateway.store import Store, StoreBusy, open_reader

ACME = Fleet("acme")


def test_an_acknowledging_commit_is_full_and_the_other_is_not(tmp_path: Path) -> None:
    opened = Store(tmp_path / "s.sqlite")
    with opened.write() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with opened.write_aside() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (1,)
    opened.close()


def test_a_pragma_that_is_not_taken_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_FULL", 7)  # SQLite takes what it knows, without a word
    with pytest.raises(CouldNotCheck, match="synchronous"):
        Store(tmp_path / "s.sqlite")


def test_a_newer_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    Store(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={store.VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    for opening in (Store, open_reader):
        with pytest.raises(Malformed, match="newer tallystick"):
            opening(path)
    assert path.read_bytes() == before


def test_what_is_no_store_of_ours_is_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.sqlite"
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(Malformed, match="no gateway's store"):
        Store(foreign)
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"no database at all" * 100)
    with pytest.raises(Malformed, match="not a database"):
        Store(garbage)
    with pytest.raises(CouldNotCheck, match="has the gateway run"):
        open_reader(tmp_path / "absent")


def test_a_second_process_is_refused_until_the_first_one_dies(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    code = (
        "import sys, time; from pathlib import Path; "
        "from tallystick.gateway.store import Store; "
        f"s = Store(Path({str(path)!r})); print('open', flush=True); time.sleep(60)"
    )
    folders = os.pathsep.join(["firmware", "gateway", "hw"])
    holder = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": folders},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"open\n"
    with pytest.raises(StoreBusy, match="another process"):
        Store(path)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    Store(path).close()


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    opened = Store(tmp_path / "s.sqlite")

    def failing() -> None:
        with opened.write() as connection:
            store.set_meta(connection, "x", b"1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    with opened.write() as connection:
        assert store.meta(connection, "x") is None
    opened.close()


def test_the_log_is_the_tree_of_rfc_9162(tmp_path: Path) -> None:
    opened = Store(tmp_path / "s.sqlite")
    with opened.write() as connection:
        log, tree = GatewayLog(connection), Tree()
        roots = [tree.root()]
        for n in range(70):
            leaf = bytes([n]) * 32
            assert log.append(leaf) == n
            tree.push(leaf)
            roots.append(tree.root())
            assert log.tree.root() == tree.root()
        log.flush(connection)
        for size, root in enumerate(roots):
            assert tree_at(connection, size).root() == root
        with pytest.raises(KeyError):
            read_node(connection, 0, 70)
    opened.close()


def test_a_full_disk_acknowledges_nothing_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # F09, with SQLite's own limit in the place of a full disk.
    monkeypatch.setattr(limits, "STORE_RETRY_S_MIN", 0.01)
    monkeypatch.setattr(limits, "STORE_RETRY_S_MAX", 0.02)
    gate = MemoryGateway(tmp_path, ACME)
    robot = ACME.device()
    for _ in range(40):
        robot.record(30)
    gate.know(robot)
    main = gate.store._main
    (pages,) = main.execute("PRAGMA page_count").fetchone()
    main.execute(f"PRAGMA max_page_count={pages + 3}")
    gate.send(robot, *robot.segments())
    working = threading.Thread(target=gate.turn, daemon=True)
    working.start()
    until(lambda: "full" in gate.worker.store_error, "the error")
    time.sleep(0.1)
    assert gate.link.acked == []
    assert gate.link.down == []
    with gate.store._turn:
        main.execute("PRAGMA max_page_count=1000000")
    working.join(60)
    assert gate.worker.store_error == ""
    assert len(gate.link.acked) == 40
    assert gate.custody(robot)[-1].to == robot.size
    assert [row[1:] for row in gate.ranges()] == [(s.first, s.to) for s in robot.stretches]
    assert gate.refused() == {}
    gate.store.close()


def alone(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own, since it may take that down or limit it."""
    return subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
        check=False,
    )


# A segmentation fault cannot be caught.
_CLOSED_BESIDE_WRITERS = """
import sqlite3, sys, threading
from pathlib import Path
from tallystick.gateway.store import Store

def write(opened, at_work):
    at_work.set()
    try:
        while True:
            with opened.write_aside() as connection:
                connection.execute("UPDATE validators SET error = 'away'")
    except sqlite3.Error:
        pass

for number in range(40):
    opened = Store(Path(sys.argv[1]) / f"{number}.sqlite")
    begun = [threading.Event() for _ in range(3)]
    threads = [threading.Thread(target=write, args=(opened, at_work)) for at_work in begun]
    for thread in threads:
        thread.start()
    for at_work in begun:
        at_work.wait()
    opened.close()
    for thread in threads:
        thread.join()
print("closed")
"""


def test_a_store_is_closed_beside_those_that_still_write(tmp_path: Path) -> None:
    ran = alone(_CLOSED_BESIDE_WRITERS, tmp_path)
    assert (ran.returncode, ran.stdout) == (0, "closed\n"), ran.stderr[-2000:]


# A store that was killed in the middle of its work, and then no file can grow.
_OPENED_ON_A_FULL_DISK = """
import os, resource, shutil, sqlite3, sys
from pathlib import Path
from tallystick.gateway.store import Store

folder = Path(sys.argv[1])
killed = folder / "killed"
killed.mkdir()
opened = Store(folder / "s.sqlite")
with opened.write() as connection:
    connection.execute("INSERT INTO meta VALUES ('name', x'01')")
for path in folder.glob("s.sqlite*"):
    if not path.name.endswith(("-shm", ".lock")):
        shutil.copy(path, killed)
bounds = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, bounds[1]))
try:
    Store(killed / "s.sqlite")
except sqlite3.OperationalError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, bounds)
Store(killed / "s.sqlite").close()
opened.close()
print("opened")
"""


def test_a_store_that_cannot_be_opened_for_now_is_not_said_to_be_bad(tmp_path: Path) -> None:
    # service.run waits where it is sqlite3's own error, and ends where it is ours.
    ran = alone(_OPENED_ON_A_FULL_DISK, tmp_path)
    assert (ran.returncode, ran.stdout) == (0, "disk I/O error\nopened\n"), ran.stderr[-2000:]


def test_a_store_that_is_made_during_a_look_is_one(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sqlite"
    asked: list[str] = []

    def making(statement: str) -> None:
        # Between what a look asks, another process makes the store.
        asked.append(statement)
        if len(asked) == 3:
            Store(path).close()

    looking = sqlite3.connect(path, isolation_level=None)
    looking.set_trace_callback(making)
    store._check_version(looking, path)
    looking.close()
    assert len(asked) == 3 and path.stat().st_size > 0


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        made = Store(tmp_path / "gateway.sqlite")
    finally:
        os.umask(before)
    with made.write() as connection:
        connection.execute("INSERT INTO meta VALUES ('x', x'00')")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 4
    assert [oct(file.stat().st_mode & 0o777) for file in files] == ["0o600"] * 4
    made.close()
