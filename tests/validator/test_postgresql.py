"""A store on a PostgreSQL server: its name, its lock, and a sequencer that loses either."""

import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from support.devices import Fleet
from support.validating import Gateway, Room, handover, load
from tallystick.evidence.errors import CouldNotCheck, Malformed
from tallystick.tools.postgres import Postgres
from tallystick.validator import portable, reconciler, schema
from tallystick.validator.check import check
from tallystick.validator.place import Server, parse_place
from tallystick.validator.store import Store, StoreBusy, StoreLost, get_meta, set_meta

SECRET = "correct%20horse"
SPOKEN = "correct horse"


def opened(url: str) -> Store:
    where = parse_place(url, Path())
    assert isinstance(where, Server)
    return Store(where)


def sql(postgres: Postgres, url: str, statement: str) -> list[tuple[object, ...]]:
    """As somebody else than the validator."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            found = connection.exec_driver_sql(statement)
            return [tuple(row) for row in found] if found.returns_rows else []
    finally:
        engine.dispose()


def writer(store: Store) -> int:
    with store.write() as connection:
        return int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


# --- its name ------------------------------------------------------------------------------


def test_a_file_is_a_path_and_a_url_a_server() -> None:
    assert parse_place("x.sqlite", Path("/v")) == Path("/v/x.sqlite")
    found = parse_place("postgresql+psycopg://tally@db/acme?sslmode=verify-full", Path("/v"))
    assert str(found) == "postgresql+psycopg://tally@db/acme?sslmode=verify-full"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://u:{SECRET}@db/acme",
        f"mysql://u:{SECRET}@db/acme",
        f"postgresql+psycopg://u:{SECRET}@db",
        f"postgresql+psycopg://u:{SECRET}@db:port/acme",
        f"postgresql+psycopg://u:{SECRET}@db/acme?options=-c%20fsync=off",
        f"postgresql+psycopg://u@db/acme?password={SECRET}",
        f"postgresql+psycopg://u:{SECRET}@db/acme?x=" + "y" * 2_048,
    ],
)
def test_what_cannot_be_taken_is_not_repeated(text: str) -> None:
    with pytest.raises(Malformed) as error:
        parse_place(text, Path())
    assert "store" in str(error.value)
    assert "horse" not in str(error.value)
    assert error.value.__cause__ is None


def test_no_error_of_a_server_shows_the_password(postgres: Postgres) -> None:
    url = postgres.database().replace("tally@", f"stranger:{SECRET}@")
    where = parse_place(url, Path())
    assert isinstance(where, Server)
    assert "horse" not in f"{where} {where!r}"
    with pytest.raises(CouldNotCheck) as error:
        Store(where)
    assert "stranger" in str(error.value)
    assert "horse" not in f"{error.value!r} {error.value}"
    assert error.value.__suppress_context__
    assert where.hidden(f"bad\n password {SPOKEN}") == "bad password ***"


def test_without_the_driver_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(CouldNotCheck, match=r"tallystick\[postgresql\]"):
        opened(f"postgresql+psycopg://u:{SECRET}@/acme")


def test_what_a_statement_was_given_is_in_no_error(postgres: Postgres) -> None:
    store = opened(postgres.database())
    try:
        with pytest.raises(sa.exc.DataError) as error, store.write() as connection:
            connection.execute(sa.text("SELECT cast(:given AS integer)"), {"given": SPOKEN})
        assert "parameters hidden" in str(error.value)
    finally:
        store.close()


def test_another_encoding_is_refused(postgres: Postgres) -> None:
    url = postgres.database()
    sql(postgres, url, "CREATE DATABASE old ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
    with pytest.raises(CouldNotCheck, match="LATIN1"):
        opened(postgres.url("old"))


def test_a_place_without_a_schema_is_an_error_and_not_busy(postgres: Postgres) -> None:
    url = postgres.database()
    sql(postgres, url, f"ALTER DATABASE {sa.make_url(url).database} SET search_path = nowhere")
    with pytest.raises(CouldNotCheck, match="search_path") as error:
        opened(url)
    assert not isinstance(error.value, StoreBusy)


def test_an_opening_that_fails_says_why_in_a_line(postgres: Postgres) -> None:
    url = postgres.database()
    sql(postgres, url, "CREATE TABLE meta (other integer)")
    with pytest.raises(CouldNotCheck, match=r"column meta\.value does not exist"):
        opened(url)
    # And what failed holds no lock.
    sql(postgres, url, "DROP TABLE meta")
    opened(url).close()


def test_a_check_reads_the_store_and_takes_no_lock(tmp_path: Path, postgres: Postgres) -> None:
    url = postgres.database()
    config = load(tmp_path / "validator", [Fleet("acme")], store=f'"{url}"')

    def found() -> tuple[bool, str]:
        (one,) = (one for one in check(config) if one.name == "store")
        return one.good, one.found

    assert found() == (True, f"{config.store} will be made")
    store = Store(config.store)
    try:
        with store.write() as connection:
            set_meta(connection, "origin", config.origin)
        assert found() == (True, f"{config.store}, 0 published checkpoints")
        with store.write() as connection:
            set_meta(connection, "schema", "99")
        good, said = found()
        assert not good
        assert "store version 99" in said
    finally:
        store.close()
    with pytest.raises(Malformed, match="newer tallystick"):
        opened(url)


# --- its contents --------------------------------------------------------------------------


def test_text_of_strangers_is_kept_as_it_is(postgres: Postgres) -> None:
    store = opened(postgres.database())
    names = ["\0", "\\", "a\\0\0", "\\\\\0", "é", "Z", "a"]
    table = schema.refusals
    try:
        with store.write() as connection:
            rows = [{"reason": name, "count": n} for n, name in enumerate(names)]
            connection.execute(sa.insert(table), rows)
        with store.read() as connection:
            found = connection.execute(sa.select(table.c.reason).order_by(table.c.count))
            assert list(found.scalars()) == names
            one = sa.select(table.c.count).where(table.c.reason == "\0")
            assert connection.execute(one).scalar_one() == 0
            # By bytes, whatever the server's locale.
            plain = sa.select(table.c.reason).where(table.c.count > 3).order_by(table.c.reason)
            assert list(connection.execute(plain).scalars()) == ["Z", "a", "é"]
    finally:
        store.close()


def test_bytes_are_found_and_sums_are_integers(postgres: Postgres) -> None:
    store = opened(postgres.database())
    table = schema.nodes
    try:
        with store.write() as connection:
            rows = [{"level": n, "at": 1 << 40, "hash": b"\0%\\" + bytes([n])} for n in range(3)]
            connection.execute(sa.insert(table), rows)
        with store.read() as connection:
            found = sa.select(table.c.level).where(portable.holds(table.c.hash, b"%\\\1"))
            assert list(connection.execute(found).scalars()) == [1]
            (total,) = connection.execute(sa.select(portable.total(table.c.at))).one()
            assert (type(total), total) == (int, 3 << 40)
            (none,) = connection.execute(
                sa.select(portable.total(table.c.at)).where(table.c.level > 9)
            ).one()
            assert none == 0
    finally:
        store.close()


def test_what_is_due_is_found_by_index(postgres: Postgres) -> None:
    store = opened(postgres.database())
    try:
        with store.read() as connection:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            for query, index in (
                (reconciler.DIRTY, "party_sets_dirty"),
                (reconciler.LATE, "party_sets_due"),
            ):
                made = query.params(now_ms=1).compile(
                    dialect=connection.dialect, compile_kwargs={"literal_binds": True}
                )
                plan = connection.exec_driver_sql(f"EXPLAIN {made}").scalars()
                assert index in " ".join(plan)
    finally:
        store.close()


def test_a_reader_sees_one_moment_and_changes_nothing(postgres: Postgres) -> None:
    store = opened(postgres.database())
    try:
        with store.read() as reading:
            assert get_meta(reading, "x") is None
            with store.write() as writing:
                set_meta(writing, "x", "1")
            assert get_meta(reading, "x") is None
        with store.read() as reading:
            assert get_meta(reading, "x") == "1"
            with pytest.raises(sa.exc.InternalError, match="read-only"):
                set_meta(reading, "x", "2")
    finally:
        store.close()


def test_a_commit_waits_for_the_disk_whatever_the_server_does(postgres: Postgres) -> None:
    url = postgres.database()
    name = sa.make_url(url).database
    sql(postgres, url, f"ALTER DATABASE {name} SET synchronous_commit = off")
    store = opened(url)
    try:
        with store.write() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
    finally:
        store.close()


# --- its lock ------------------------------------------------------------------------------


def test_one_log_has_one_sequencer_and_its_end_frees_the_lock(postgres: Postgres) -> None:
    url = postgres.database()
    first = opened(url)
    with pytest.raises(StoreBusy, match="has a sequencer already"):
        opened(url)
    other = opened(postgres.database())  # another database, another log
    other.close()
    first.close()
    opened(url).close()


def test_the_lock_is_free_before_the_server_sees_that_the_session_ended(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.database()
    first = opened(url)
    session = writer(first)
    with monkeypatch.context() as patched:
        patched.setattr(sa.engine.Engine, "dispose", lambda _engine: None)
        first.close()
    assert sql(postgres, url, f"SELECT 1 FROM pg_stat_activity WHERE pid = {session}") == [(1,)]
    opened(url).close()


def test_a_sequencer_whose_session_ended_writes_no_more(postgres: Postgres) -> None:
    url = postgres.database()
    slow = opened(url)
    sql(postgres, url, f"SELECT pg_terminate_backend({writer(slow)})")
    with pytest.raises(sa.exc.DBAPIError), slow.write() as connection:
        set_meta(connection, "who", "slow")
    assert slow.lost
    quick = opened(url)
    try:
        with quick.write() as connection:
            set_meta(connection, "who", "quick")
        with pytest.raises(StoreLost), slow.write():
            raise AssertionError
        with pytest.raises(StoreBusy):
            slow.take()
        assert slow.lost
    finally:
        quick.close()
    slow.take()
    with slow.write() as connection:
        assert get_meta(connection, "who") == "quick"
    slow.close()


def test_who_writes_nothing_sees_that_its_lock_is_gone(postgres: Postgres) -> None:
    url = postgres.database()
    idle = opened(url)
    assert idle.holds_lock()
    sql(postgres, url, f"SELECT pg_terminate_backend({writer(idle)})")
    while idle.holds_lock():  # the server ends it in its own time
        pass
    assert idle.lost
    idle.take()
    assert idle.holds_lock()
    # Another's lock is not one's own.
    with idle._base.writer.connect() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")
        connection.commit()
    other = opened(url)
    assert not idle.holds_lock()
    assert other.holds_lock()
    idle.close()
    other.close()


def test_a_pool_brings_no_new_session_by_itself(postgres: Postgres) -> None:
    url = postgres.database()
    store = opened(url)
    # As after an error that the pool saw and `write` did not.
    store._base.writer.dispose()
    with pytest.raises(StoreLost, match="session is gone"), store.write():
        raise AssertionError
    assert store.lost
    store.close()


def test_a_lock_that_the_server_forgot_is_told_by_the_term(postgres: Postgres) -> None:
    url = postgres.database()
    sleeping = opened(url)
    # A standby that is promoted knows no advisory locks.
    with sleeping._base.writer.connect() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")
        connection.commit()
    awake = opened(url)
    try:
        with awake.write() as connection:
            set_meta(connection, "who", "awake")
        with pytest.raises(StoreLost, match="took over"), sleeping.write():
            raise AssertionError
        assert sleeping.lost
    finally:
        sleeping.close()
        awake.close()


def test_a_transaction_that_was_open_at_the_take_over_ends_before_it(postgres: Postgres) -> None:
    url = postgres.database()
    sleeping = opened(url)
    with sleeping._base.writer.connect() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")
        connection.commit()
    taken = threading.Event()
    stores: list[Store] = []

    def take_over() -> None:
        stores.append(opened(url))
        taken.set()

    with sleeping.write() as connection:
        thread = threading.Thread(target=take_over)
        thread.start()
        set_meta(connection, "last", "words")
        assert not taken.wait(0.2)
    thread.join(60)
    try:
        with stores[0].read() as connection:
            assert get_meta(connection, "last") == "words"
    finally:
        sleeping.close()
        stores[0].close()


# --- a log on it ---------------------------------------------------------------------------


def test_nothing_is_lost_or_done_twice_when_the_session_breaks(
    tmp_path: Path, fleet: Fleet, postgres: Postgres
) -> None:
    url = postgres.database()
    folder, fleets = tmp_path / "validator", [fleet, Fleet("borealis")]
    room = Room(folder, fleets, store=url)
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    handover(giver, receiver, "order-1")
    gateway.take(*giver.segments(), *receiver.segments())
    batch = gateway.batch(devices=[giver, receiver])
    sql(postgres, url, f"SELECT pg_terminate_backend({writer(room.sequencer.store)})")
    with pytest.raises((sa.exc.DBAPIError, StoreLost)):
        room.send(batch)
    assert room.sequencer.store.lost
    with pytest.raises(StoreLost):
        room.send(batch)
    second = Room(folder, fleets, store=url)
    answer = second.send(batch)
    second.settle()
    assert answer.refused == []
    assert second.states() == {"matched": 1}
    assert second.send(batch) == answer
    # What it counted since is lost with it, and it ends as it should.
    room.sequencer.refusals.count("bad-value")
    room.close()
    second.close()
