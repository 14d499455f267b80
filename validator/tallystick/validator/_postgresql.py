"""The store in a PostgreSQL database: one session writes the log, any number read.

The session that writes is the one that holds the sequencer's advisory lock, so a lock cannot be
lost without the means to write. A connection that breaks is never replaced in silence: what memory
holds may be behind what another sequencer wrote meanwhile. Where a server forgets advisory locks
and lets sessions live (a standby that is promoted, a pooler that shares sessions), the term tells:
who takes the lock raises it, and each transaction of the writer reads it first, for update.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

from tallystick.evidence.errors import CouldNotCheck
from tallystick.validator import schema
from tallystick.validator.limits import READERS_MAX, WORKER_STOPPED_MS_MAX
from tallystick.validator.place import Server
from tallystick.validator.storefaults import StoreAway, StoreBusy, StoreLost

# "tally" in ASCII, to 32 bits: the first half of the lock's name; the second is the schema's.
LOCK_CLASS = 0x74616C6C
CONNECT_S_MAX = 10
LOCK_MS_MAX = 10_000
# A sequencer whose machine is gone sends no farewell: the server must miss it, and it the server.
SILENCE_S, PROBES_S, PROBES = 10, 5, 3
TERM = "term"
SNAPSHOT = "REPEATABLE READ"


class PostgresServer:
    """`writer` of the one sequencer, `readers` for anyone; StoreBusy where another has the lock."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._term = 0
        self._session = 0  # the server's process
        self._may_connect = False
        self.readers = _engine(server, READERS_MAX, read_only=True, isolation=SNAPSHOT)
        self.writer = self._writing()

    # --- the lock --------------------------------------------------------------------------

    def take(self) -> None:
        """Become the sequencer, anew where it was one; StoreBusy, CouldNotCheck."""
        self.writer.dispose()
        self.writer = self._writing()
        self._may_connect = True
        self._term = 0
        try:
            with self.writer.begin() as connection:
                _check_server(connection)
        finally:
            # This session or none, from here on.
            self._may_connect = False

    def fence(self, connection: Connection) -> None:
        """First in each transaction of the writer: StoreLost when there is another sequencer."""
        table = schema.meta
        found = connection.execute(
            sa.select(table.c.value).where(table.c.name == TERM).with_for_update()
        ).scalar_one_or_none()
        if self._term == 0:
            self._term = int(found or 0) + 1
            connection.execute(sa.delete(table).where(table.c.name == TERM))
            connection.execute(sa.insert(table), {"name": TERM, "value": str(self._term)})
        elif found != str(self._term):
            raise StoreLost(
                "bad-value", f"{self._server}: another sequencer took over; this one writes no more"
            )

    def holds_lock(self) -> bool:
        """Whether the server knows this one's lock; True where nobody can say."""
        try:
            with self.readers.begin() as connection:
                return _holder(connection) == self._session
        except sa.exc.SQLAlchemyError:
            return True

    def _writing(self) -> Engine:
        engine = _engine(self._server, 1, read_only=False)

        @sa.event.listens_for(engine, "connect")
        def _connected(connection: Any, _record: Any) -> None:
            if not self._may_connect:
                raise StoreLost("bad-value", f"{self._server}: the sequencer's session is gone")
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_try_advisory_lock(%s, hashtext(current_schema()))", (LOCK_CLASS,)
                )
                got = cursor.fetchone()[0]
            connection.commit()
            self._session = connection.info.backend_pid
            if not got:
                # The pool never gets it, so nobody else would.
                connection.close()
            if got is None:
                raise CouldNotCheck(
                    "bad-value", f"{self._server}: search_path names no schema that is there"
                )
            if not got:
                raise StoreBusy(
                    "bad-value",
                    f"{self._server} has a sequencer already; one log has one. Stop that one first",
                )

        return engine

    def fault(self, error: sa.exc.DBAPIError) -> CouldNotCheck:
        """What is raised for a driver's error while the store is opened."""
        return _fault(self._server, error)

    def scrub(self) -> bool:
        """What was erased is overwritten by the server's own VACUUM, in its own time."""
        return True

    def close(self) -> None:
        """End all sessions; another process may take the lock now."""
        self.readers.dispose()
        self._unlock()
        self.writer.dispose()

    def _unlock(self) -> None:
        # A server ends a session some time after its client is gone, and keeps the lock until then.
        if not isinstance(self.writer.pool, QueuePool) or not self.writer.pool.checkedin():
            return  # none, or somebody is in it still
        try:
            with self.writer.begin() as connection:
                connection.exec_driver_sql(
                    "SELECT pg_advisory_unlock(%s, hashtext(current_schema()))", (LOCK_CLASS,)
                )
        except (sa.exc.SQLAlchemyError, StoreLost):
            return  # the session is gone, and its lock with it


def of_server(server: Server) -> tuple[dict[str, str], int] | None:
    """The store's settings and how many heads it published, without the lock; None: it is empty."""
    engine = _engine(server, 1, read_only=True, isolation=SNAPSHOT)
    try:
        with engine.begin() as connection:
            _check_server(connection)
            if not sa.inspect(connection).has_table("meta"):
                return None
            rows = connection.execute(sa.select(schema.meta.c.name, schema.meta.c.value))
            meta = {row.name: row.value for row in rows}
            size = connection.execute(sa.select(sa.func.count()).select_from(schema.heads))
            return meta, size.scalar_one()
    except sa.exc.DBAPIError as error:
        raise _fault(server, error) from None
    finally:
        engine.dispose()


def for_worker(server: Server) -> Engine:
    """One session that writes beside the sequencer, what no promise rests on: without the lock.

    What it commits may be lost with the server; then it is done once more.
    """
    engine = _engine(server, 1, read_only=False, isolation=SNAPSHOT)

    @sa.event.listens_for(engine, "connect")
    def _settings(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit = off")
            cursor.execute(
                "SELECT set_config('idle_in_transaction_session_timeout', %s, false)",
                (str(WORKER_STOPPED_MS_MAX),),
            )
        connection.commit()

    return engine


def is_free(server: Server) -> bool:
    """Whether nobody sequences this log now; StoreAway where the server does not answer."""
    engine = _engine(server, 1, read_only=True, isolation=SNAPSHOT)
    try:
        with engine.begin() as connection:
            return _holder(connection) is None
    except sa.exc.DBAPIError as error:
        raise _fault(server, error) from None
    finally:
        engine.dispose()


# Looked at, not tried: a look that held the lock for a moment would refuse who comes meanwhile.
_HELD = sa.text(
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND classid = cast(:name AS oid) "
    "AND objid = cast(cast(hashtext(current_schema()) AS bigint) & 4294967295 AS oid)"
)


def _holder(connection: Connection) -> int | None:
    found: int | None = connection.execute(_HELD, {"name": LOCK_CLASS}).scalar_one_or_none()
    return found


def _fault(server: Server, error: sa.exc.DBAPIError) -> CouldNotCheck:
    # Not chained: nobody knows what a driver's own error repeats.
    kind = StoreAway if isinstance(error, sa.exc.OperationalError) else CouldNotCheck
    return kind("bad-value", f"{server}: {server.hidden(str(error.orig))}")


def _engine(
    server: Server, connections: int, *, read_only: bool, isolation: str = "READ COMMITTED"
) -> Engine:
    try:
        engine = sa.create_engine(
            server.url,
            poolclass=QueuePool,
            pool_size=connections,
            max_overflow=0,
            # What a statement was given never stands in an error.
            hide_parameters=True,
            isolation_level=isolation,
            # A snapshot's connection may be stale: the pool asks before it lends it.
            pool_pre_ping=read_only,
            connect_args={
                "connect_timeout": CONNECT_S_MAX,
                "keepalives_idle": SILENCE_S,
                "keepalives_interval": PROBES_S,
                "keepalives_count": PROBES,
                "application_name": "tallystick",
                **{name: str(value) for name, value in server.url.query.items()},
            },
        )
    except ModuleNotFoundError as error:
        raise CouldNotCheck(
            "bad-value", f"{server} needs psycopg: pip install 'tallystick[postgresql]'"
        ) from error

    @sa.event.listens_for(engine, "connect")
    def _settings(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            for name, value in (
                ("lock_timeout", LOCK_MS_MAX),
                ("tcp_keepalives_idle", SILENCE_S),
                ("tcp_keepalives_interval", PROBES_S),
                ("tcp_keepalives_count", PROBES),
            ):
                cursor.execute("SELECT set_config(%s, %s, false)", (name, str(value)))
            if read_only:
                cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
            else:
                # A receipt leaves after the commit: it must be on disk, whatever the server's way.
                cursor.execute("SHOW synchronous_commit")
                if cursor.fetchone()[0] in {"off", "local"}:
                    cursor.execute("SET synchronous_commit = on")
        connection.commit()

    return engine


def _check_server(connection: Connection) -> None:
    found = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if found != "UTF8":
        raise CouldNotCheck(
            "bad-value", f"the database's encoding is {found}; make one with ENCODING 'UTF8'"
        )
