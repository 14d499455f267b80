"""An older store is migrated in one transaction or not at all (F19); a new one is the same."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.engine import Connection

from support.devices import Fleet
from support.validating import Gateway, Room, handover
from tallystick.evidence.errors import CouldNotCheck
from tallystick.tools.postgres import Postgres
from tallystick.validator import migrations, schema
from tallystick.validator.place import parse_place
from tallystick.validator.store import Store, get_meta

# Made by the program as it was at commit d3f56d7, of one gateway's batch with two devices.
V1 = Path(__file__).parent / "stores" / "v1.sql"


def old_store(folder: Path) -> Path:
    folder.mkdir(parents=True)
    path = folder / "validator.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(V1.read_text())
    connection.close()
    return path


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, schema.metadata))


def indexes(connection: Connection) -> dict[str, str]:
    rows = connection.exec_driver_sql(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    )
    return {name: " ".join(sql.split()) for name, sql in rows}


def content(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def test_the_version_is_where_the_last_step_leads() -> None:
    assert len(migrations.STEPS) + 1 == schema.VERSION


def test_a_migrated_store_is_as_a_new_one(tmp_path: Path) -> None:
    old = Store(old_store(tmp_path / "old"))
    new = Store(tmp_path / "new.sqlite")
    try:
        with old.read() as connection:
            assert get_meta(connection, "schema") == str(schema.VERSION)
            assert differences(connection) == []
            found = indexes(connection)
        with new.read() as connection:
            assert differences(connection) == []
            assert indexes(connection) == found
    finally:
        old.close()
        new.close()


def test_a_log_goes_on_after_its_store_was_migrated(tmp_path: Path) -> None:
    old_store(tmp_path / "validator")
    fleet = Fleet("acme")
    room = Room(tmp_path / "validator", [fleet, Fleet("borealis")])
    try:
        size = room.sequencer.log.tree.size
        assert room.states() == {"matched": 1, "pending": 1}
        giver, receiver = fleet.device("a"), fleet.device("b")
        giver.record(1)
        handover(giver, receiver, "order-0")
        handover(giver, receiver, "order-1")
        gateway = Gateway(fleet, name="second")
        gateway.take(*giver.segments(), *receiver.segments())
        assert room.send(gateway.batch(devices=[giver, receiver])).refused == []
        room.settle()
        assert room.states() == {"matched": 2}
        assert room.sequencer.log.tree.size > size
    finally:
        room.close()


# As they were on version 1; all other numbers had 64 bits.
NARROW = {("entries", "kind"), ("nodes", "level"), ("identities", "subject"),
          ("stretches", "records"), ("gateway_logs", "forks")}  # fmt: skip


def old_server(folder: Path, url: str) -> None:
    """The same store on a server: version 1 as that program would have made it there."""
    source = sa.create_engine(f"sqlite:///{old_store(folder)}")
    tables = sa.MetaData()
    tables.reflect(source)
    for table in tables.sorted_tables:
        for column in table.columns:
            kind = column.type.as_generic()
            if isinstance(kind, sa.Integer) and (table.name, column.name) not in NARROW:
                kind = sa.BigInteger()
            column.type = kind
            column.autoincrement = False
    target = sa.create_engine(url)
    with source.connect() as reading, target.begin() as writing:
        tables.create_all(writing)
        for table in tables.sorted_tables:
            rows = [dict(row._mapping) for row in reading.execute(sa.select(table))]
            if rows:
                writing.execute(sa.insert(table), rows)
    source.dispose()
    target.dispose()


def test_a_store_on_a_server_is_migrated_too(tmp_path: Path, postgres: Postgres) -> None:
    url = postgres.database()
    old_server(tmp_path / "validator", url)
    fleet = Fleet("acme")
    room = Room(tmp_path / "validator", [fleet, Fleet("borealis")], store=url)
    try:
        with room.sequencer.store.read() as connection:
            assert get_meta(connection, "schema") == str(schema.VERSION)
            assert differences(connection) == []
        assert room.states() == {"matched": 1, "pending": 1}
        size = room.sequencer.log.tree.size
        device, gateway = fleet.device("c"), Gateway(fleet, name="second")
        device.record(3)
        gateway.take(*device.segments())
        assert room.send(gateway.batch(devices=[device])).refused == []
        assert room.sequencer.log.tree.size > size
    finally:
        room.close()


def test_a_step_that_fails_on_a_server_changes_nothing(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.database()
    place = parse_place(url, tmp_path)
    Store(place).close()

    def bad(operations: Operations) -> None:
        operations.create_table("half", sa.Column("way", sa.Integer, primary_key=True))
        operations.execute("SELECT nothing FROM nowhere")

    monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS, bad))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    with pytest.raises(CouldNotCheck, match="failed"):
        Store(place)
    monkeypatch.undo()
    store = Store(place)
    with store.read() as connection:
        assert not sa.inspect(connection).has_table("half")
        assert get_meta(connection, "schema") == str(schema.VERSION)
    store.close()


def test_a_step_that_fails_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old_store(tmp_path / "old")
    before = content(path)

    def good(operations: Operations) -> None:
        operations.create_table("half", sa.Column("way", sa.Integer, primary_key=True))
        operations.execute("DELETE FROM claims")

    def bad(operations: Operations) -> None:
        with operations.batch_alter_table("logs") as table:
            table.add_column(sa.Column("more", sa.Integer))
        operations.execute("SELECT nothing FROM nowhere")

    monkeypatch.setattr(migrations, "STEPS", (good, bad))
    monkeypatch.setattr(schema, "VERSION", 3)
    with pytest.raises(CouldNotCheck, match="to version 3 failed"):
        Store(path)
    assert content(path) == before
    # The lock was given back.
    monkeypatch.setattr(migrations, "STEPS", (good, good))
    with pytest.raises(CouldNotCheck, match="to version 3 failed"):
        Store(path)
    assert content(path) == before
