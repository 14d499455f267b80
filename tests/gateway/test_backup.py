"""A backup of a store that is written to, and what it holds brought to another gateway."""

import json
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from support.devices import Fleet
from support.gateways import MemoryGateway
from support.site import Site
from tallystick.evidence.errors import CouldNotCheck
from tallystick.gateway import backup as backups
from tallystick.gateway.service import Gateway
from tallystick.gateway.status import status_of
from tallystick.gateway.store import Store, open_reader
from tallystick.tools.main import cli

ACME = Fleet("acme")


def tally(*words: object) -> Result:
    return CliRunner().invoke(cli, ["gateway", *map(str, words)])


def filled(folder: Path, segments: int = 4) -> MemoryGateway:
    gate = MemoryGateway(folder, ACME)
    for robot in (ACME.device("one"), ACME.device("two")):
        for _ in range(segments):
            robot.record(3)
        gate.give(robot, robot.hello(), *robot.segments())
    return gate


def test_what_a_backup_holds_goes_to_another_gateway(tmp_path: Path) -> None:
    gate = filled(tmp_path / "gate")
    was = gate.status()
    to = tmp_path / "backup.sqlite"
    assert backups.backup(gate.store.path, to) == was["segments"]
    gate.store.close()
    assert to.stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.glob("*backup*")] == ["backup.sqlite"]
    other = Site(tmp_path / "other", ACME, 1, name="dock-south")
    done = tally("restore", to, "--config", other.path, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.output) == {"segments": was["segments"], "refused": {}}
    found = status_of(other.config.store)
    for name in ("segments", "records", "devices", "epochs"):
        assert found.get(name) == was.get(name), name
    # Again: nothing is taken twice.
    again = tally("restore", to, "--config", other.path)
    assert again.exit_code == 0, again.output
    assert "0 segments taken, " in again.output
    assert status_of(other.config.store)["segments"] == was["segments"]


def test_no_gateway_goes_on_with_a_backup(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", ACME, 1)
    gateway = Gateway(site.config)
    gateway.stop()
    to = tmp_path / "backup.sqlite"
    done = tally("backup", "--config", site.path, "--to", to, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["to"] == str(to)
    site.config.store.unlink()
    to.rename(site.config.store)
    with pytest.raises(CouldNotCheck, match="tally gateway restore"):
        Gateway(site.config)


def test_it_is_whole_while_others_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = filled(tmp_path / "gate", segments=40)
    monkeypatch.setattr(backups, "STEP_PAGES", 2)
    turns: list[int] = []

    def write(left: int, _total: int) -> None:
        # Between any two steps: a copy that began anew each time would never end.
        turns.append(left)
        with gate.store.write() as connection:
            connection.execute("UPDATE meta SET value = ? WHERE name = 'x'", (b"y" * 5_000,))
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('x', ?)", (b"x" * 9_000,))

    to = tmp_path / "backup.sqlite"
    backups.backup(gate.store.path, to, write)
    assert len(turns) > 10
    assert turns == sorted(turns, reverse=True)
    gate.store.close()
    reader = open_reader(to)
    assert reader.execute("SELECT count(*) FROM meta WHERE name = 'x'").fetchone() == (0,)
    assert reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    reader.close()


def test_what_it_refuses_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = filled(tmp_path / "gate")
    store = gate.store.path
    there = tmp_path / "there"
    there.write_text("mine")
    with pytest.raises(CouldNotCheck, match="overwrites nothing"):
        backups.backup(store, there)
    assert there.read_text() == "mine"
    with pytest.raises(CouldNotCheck, match="no store"):
        backups.backup(tmp_path / "none.sqlite", tmp_path / "b")
    with pytest.raises(CouldNotCheck, match="no backup"):
        list(backups.messages(store))

    def cut(left: int, _total: int) -> None:
        if left < 20:
            raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(backups, "STEP_PAGES", 2)
    with pytest.raises(CouldNotCheck, match="disk I/O error"):
        backups.backup(store, tmp_path / "b", cut)
    assert {path.name for path in tmp_path.iterdir()} == {"gate", "there"}
    gate.store.close()


def test_a_running_gateway_is_not_restored_into(tmp_path: Path) -> None:
    gate = filled(tmp_path / "gate")
    to = tmp_path / "backup.sqlite"
    backups.backup(gate.store.path, to)
    gate.store.close()
    site = Site(tmp_path / "site", ACME, 1)
    held = Store(site.config.store)
    done = tally("restore", to, "--config", site.path)
    assert done.exit_code != 0
    assert "open in another process" in str(done.exception)
    held.close()
