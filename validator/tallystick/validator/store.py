"""The store: one SQLite file, WAL, `synchronous=FULL`, one writer, many readers.

A second process on the same store is refused by a lock that the kernel releases when its holder
dies (F18). An older store is migrated under that lock, in one transaction or not at all; a newer
one is refused and never changed by an older program (F19).
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

from tallystick.evidence.errors import CouldNotCheck, Malformed
from tallystick.validator import schema
from tallystick.validator.limits import BUSY_TIMEOUT_MS, READERS_MAX


class StoreBusy(CouldNotCheck):
    """Another process has this store open."""


class Store:
    """An open store; `write()` is for the one sequencer, `read()` for anyone.

    Raises StoreBusy where another process has it, Malformed where it is not ours or newer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(path)
        try:
            self._writer = _engine(path, connections=1, read_only=False)
            self._readers = _engine(path, connections=READERS_MAX, read_only=True)
            with self.write() as connection:
                _prepare(connection, path)
        except BaseException:
            os.close(self._lock)
            raise

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that holds the write lock from its first statement; durable at its end."""
        with self._writer.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot: what one answer is made of belongs together."""
        with self._readers.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close everything; another process may open the store now."""
        self._readers.dispose()
        self._writer.dispose()
        os.close(self._lock)


def _lock(path: Path) -> int:
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreBusy(
            "bad-value",
            f"{path} is open in another process; one log has one sequencer. Stop that one first",
        ) from error
    return descriptor


def _engine(path: Path, *, connections: int, read_only: bool) -> Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
    )

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        # The driver's own transactions begin late and commit by themselves; ours are explicit.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA temp_store=MEMORY")
        cursor.execute("PRAGMA cache_size=-32768")
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _prepare(connection: Connection, path: Path) -> None:
    if not sa.inspect(connection).has_table("meta"):
        schema.metadata.create_all(connection)
        set_meta(connection, "schema", str(schema.VERSION))
        return
    found = get_meta(connection, "schema")
    if found is None or not found.isascii() or not found.isdigit():
        raise Malformed("bad-value", f"{path} is no validator's store")
    if int(found) > schema.VERSION:
        raise Malformed(
            "bad-value",
            f"{path} was written by a newer tallystick (store version {found}, this program knows "
            f"{schema.VERSION}); upgrade the program, the store is unchanged",
        )
    if int(found) < schema.VERSION:
        from tallystick.validator import migrations  # noqa: PLC0415 - alembic, needed only here

        migrations.migrate(connection, int(found))
        set_meta(connection, "schema", str(schema.VERSION))


def get_meta(connection: Connection, name: str) -> str | None:
    """One setting of the store."""
    found = connection.execute(sa.select(schema.meta.c.value).where(schema.meta.c.name == name))
    value: str | None = found.scalar_one_or_none()
    return value


def set_meta(connection: Connection, name: str, value: str) -> None:
    """Set one setting of the store."""
    connection.execute(sa.delete(schema.meta).where(schema.meta.c.name == name))
    connection.execute(sa.insert(schema.meta), {"name": name, "value": value})
