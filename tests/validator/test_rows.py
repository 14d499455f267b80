"""Rows that go to the driver past SQLAlchemy: the same values, and the same errors."""

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from support.validating import Room
from tallystick.validator import schema
from tallystick.validator.rows import Among, Prepared, insert_rows

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
    # It is the cause that is told: on a server a second try says of the transaction that it failed.
    where = sa.column("x") == sa.bindparam("of", type_=sa.Text)
    named = Prepared(sa.select(sa.column("x")).select_from(sa.table("no_such_table")).where(where))
    with pytest.raises(DBAPIError) as caught, room.sequencer.store.write() as connection:
        named.rows(connection, of="a canary")
    assert "no_such_table" in str(caught.value.orig)
    assert not caught.value.connection_invalidated
    if "postgresql" in str(room.store):
        assert getattr(caught.value.orig, "sqlstate", None) == "42P01"
        assert "a canary" not in str(caught.value)
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

    told: list[bool] = []

    def ended(connection: Connection) -> None:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with room.sequencer.store.read() as other:
            other.exec_driver_sql("SELECT pg_terminate_backend(%(pid)s)", {"pid": pid})
        try:
            known.rows(connection, log=7)
        except DBAPIError as error:
            told.append(error.connection_invalidated)
            raise

    with pytest.raises(DBAPIError), room.sequencer.store.write() as connection:
        ended(connection)
    assert told == [True]
    assert room.sequencer.store.lost


def test_named_rows_are_sqlalchemys(room: Room) -> None:
    # Texts that PostgreSQL escapes, booleans that SQLite keeps as integers, and nulls.
    rows = [{"log": 9, "at": at, "reason": text} for at, text in enumerate(TEXTS)]
    query = sa.select(REFUSED).where(REFUSED.c.log == sa.bindparam("of")).order_by(REFUSED.c.at)
    newest = Prepared(query.limit(sa.bindparam("most", type_=sa.Integer)))
    with room.sequencer.store.write() as connection:
        insert_rows(connection, REFUSED, rows)
        expected = connection.execute(query, {"of": 9}).mappings().all()
        found = Prepared(query).found(connection, of=9)
        assert [one._asdict() for one in found] == [dict(one) for one in expected]
        assert [one.reason for one in newest.found(connection, of=9, most=2)] == TEXTS[:2]
        checkpoint = {
            "digest": b"\1" * 32, "log": 2, "size": 3, "root": b"", "claims": 0, "custody": None,
            "entry": 5, "time_ms": 6, "inside": True,
        }  # fmt: skip
        insert_rows(connection, schema.checkpoints, [checkpoint])
        all_of = sa.select(schema.checkpoints).where(
            schema.checkpoints.c.digest == sa.bindparam("digest")
        )
        (one,) = Prepared(all_of).found(connection, digest=b"\1" * 32)
        assert one._asdict() == checkpoint
        assert one.inside is True


@pytest.mark.parametrize("length", [0, 1, 2, 8, 9, 64, 65, 512, 513, 1_030])
def test_lists_of_any_length_are_found_once(room: Room, length: int) -> None:
    rows = [{"log": 10, "at": at, "reason": "r"} for at in range(1_040)]
    among = Among(
        REFUSED.c.at.type,
        lambda wanted: sa.select(REFUSED.c.at).where(REFUSED.c.log == 10, REFUSED.c.at.in_(wanted)),
    )
    with room.sequencer.store.write() as connection:
        connection.execute(sa.delete(REFUSED).where(REFUSED.c.log == 10))
        insert_rows(connection, REFUSED, rows)
        found = among.found(connection, list(range(length)))
        assert sorted(one.at for one in found) == list(range(length))
        assert among.found(connection, [5_000]) == []
