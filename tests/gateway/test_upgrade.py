"""F19 at a gateway: an older store becomes a newer one in one transaction, or stays as it was."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tallystick.evidence.errors import CouldNotCheck
from tallystick.gateway import store
from tallystick.gateway.store import Store

# Runs in a process of its own, which has no threads to fork.
KILLING = """
import os, shutil, sqlite3, sys
from pathlib import Path
from tallystick.evidence.errors import CouldNotCheck
from tallystick.gateway import store
old = Path(sys.argv[1])
real = store._connect
def dying(path, synchronous):
    connection, passed = real(path, synchronous), 0
    def count(_statement):
        nonlocal passed
        passed += 1
        if passed == last:
            os._exit(9)  # no handler runs, nothing is rolled back by us
    connection.set_trace_callback(count)
    return connection
store._connect = dying
for last in range(1, 1000):
    for file in old.parent.glob("copy*"):
        file.unlink()
    copy = Path(shutil.copy(old, old.with_name("copy.sqlite")))
    child = os.fork()
    if not child:
        store.Store(copy).close()
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found = sqlite3.connect(copy)
    version = found.execute("PRAGMA user_version").fetchone()[0]
    tables = found.execute("SELECT name FROM sqlite_master ORDER BY name").fetchall()
    found.close()
    print(code, version, len(tables), flush=True)
    if code != 9:
        break
"""


def older(path: Path) -> Path:
    """A store of version 1."""
    connection = sqlite3.connect(path)
    connection.executescript(
        store._SCHEMAS[0].read_text()
        + f"PRAGMA application_id={store.APPLICATION_ID}; PRAGMA user_version=1;"
        "INSERT INTO meta VALUES ('name', x'6f6c64');"
    )
    connection.close()
    return path


def content(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def test_an_upgrade_that_is_killed_at_any_statement_never_was(tmp_path: Path) -> None:
    path = older(tmp_path / "old.sqlite")
    ran = subprocess.run(
        [sys.executable, "-c", KILLING, path],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    *killed, last = [tuple(map(int, line.split())) for line in ran.stdout.splitlines()]
    assert len(killed) > 10
    assert last[:2] == (0, store.VERSION)
    states = [row[1:] for row in killed]
    assert states[0][0] == 1
    # Either of the two, and never the one again after the other.
    turn = states.count(states[0])
    assert states == [states[0]] * turn + [last[1:]] * (len(states) - turn)


def test_an_upgrade_that_fails_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = older(tmp_path / "old.sqlite")
    before = content(path)
    bad = tmp_path / "bad.sql"
    bad.write_text("CREATE TABLE half (way INTEGER);\nSELECT nothing FROM nowhere;\n")
    with monkeypatch.context() as upgraded:
        upgraded.setattr(store, "_SCHEMAS", [*store._SCHEMAS, bad])
        upgraded.setattr(store, "VERSION", store.VERSION + 1)
        with pytest.raises(CouldNotCheck, match="the store is as it was"):
            Store(path)
    assert content(path) == before
    Store(path).close()
    assert content(path) != before
