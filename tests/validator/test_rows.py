"""Rows that go to the driver past SQLAlchemy: the same values, and the same errors."""

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from support.validating import Room
from tallystick.validator import schema
from tallystick.validator.rows import Prepared, insert_rows

pytestmark = pytest.mark.databases
REFUSED = schema.refused_records
# What PostgreSQL's text does not hold, and what marks it there (portable.py).
TEXTS = ["plain", "a\0b", "a\\b", "\\0", ""]


def test_rows_come_back_as_they_were(room: Room) -> None:
    rows = [{"log": 7, "at": at, "reason": text} for at, text in enumerate(TEXTS)]
    with room.sequencer.store.write() as connection:
        insert_rows(connection, REFUSED, rows)
        insert_rows(connection, REFUSED, [])
        one_by_one = [{"log": 8, "at": at, "reason": text} for at, text in enumerate(TEXTS)]
        connection.execute(sa.insert(REFUSED), one_by_one)
        found = connection.execute(
            sa.select(REFUSED.c.reason).order_by(REFUSED.c.log, REFUSED.c.at)
        ).scalars()
        assert list(found) == TEXTS * 2
        stored = connection.exec_driver_sql(
            "SELECT reason FROM refused_records ORDER BY log, at"
        ).fetchall()
    assert stored[: len(TEXTS)] == stored[len(TEXTS) :]


def test_bytes_booleans_and_nulls_too(room: Room) -> None:
    row = {
        "digest": bytes(range(32)), "log": 1, "size": 1 << 40, "root": b"\0" * 32, "claims": 0,
        "custody": None, "entry": 5, "time_ms": 1 << 41, "inside": True,
    }  # fmt: skip
    other = row | {"digest": b"\xff" * 32, "custody": b"", "inside": False}
    with room.sequencer.store.write() as connection:
        insert_rows(connection, schema.checkpoints, [row, other])
        found = connection.execute(
            sa.select(schema.checkpoints).where(schema.checkpoints.c.log == 1)
        ).mappings()
        assert sorted(map(dict, found), key=lambda one: one["digest"]) == [row, other]
        of = Prepared(
            sa.select(schema.checkpoints.c.inside, schema.checkpoints.c.custody).where(
                schema.checkpoints.c.digest == sa.bindparam("digest")
            )
        )
        ((inside, custody),) = of.rows(connection, digest=other["digest"])
        assert (bool(inside), custody) == (False, b"")
        assert of.rows(connection, digest=bytes(32)) == []


def test_an_error_is_sqlalchemys(room: Room) -> None:
    # The store looks at these to see whether its session is lost.
    wrong = Prepared(sa.select(sa.column("x")).select_from(sa.table("no_such_table")))
    with pytest.raises(DBAPIError), room.sequencer.store.write() as connection:
        wrong.rows(connection)
    twice = [{"log": 7, "at": 1, "reason": "r"}] * 2
    with pytest.raises(DBAPIError), room.sequencer.store.write() as connection:
        insert_rows(connection, REFUSED, twice)
    with room.sequencer.store.read() as connection:
        assert connection.execute(sa.select(REFUSED).where(REFUSED.c.log == 7)).all() == []


def test_a_session_that_ended_is_seen(room: Room) -> None:
    # On a server: whoever reads past SQLAlchemy must not hide that the connection is gone.
    if "postgresql" not in str(room.store):
        return
    known = Prepared(sa.select(REFUSED.c.at).where(REFUSED.c.log == sa.bindparam("log")))

    def ended(connection: Connection) -> None:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with room.sequencer.store.read() as other:
            other.exec_driver_sql("SELECT pg_terminate_backend(%(pid)s)", {"pid": pid})
        known.rows(connection, log=7)

    with pytest.raises(DBAPIError), room.sequencer.store.write() as connection:
        ended(connection)
    assert room.sequencer.store.lost
