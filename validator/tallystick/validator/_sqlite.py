"""The store in one SQLite file: WAL, `synchronous=FULL`, one writer, many readers.

A second process is refused by a lock that the kernel releases when its holder dies (F18).
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

from tallystick.validator.limits import BUSY_TIMEOUT_MS, READERS_MAX
from tallystick.validator.storefaults import StoreBusy


class SqliteFile:
    """`writer` for the one sequencer, `readers` for anyone; StoreBusy where another has it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(path)
        try:
            _make(path)
            self.writer = _engine(path, connections=1, read_only=False)
            self.readers = _engine(path, connections=READERS_MAX, read_only=True)
        except BaseException:
            os.close(self._lock)
            raise

    def take(self) -> None:
        """The file's lock, taken when it was opened, is never lost."""

    def holds_lock(self) -> bool:
        """As `take`: always."""
        return True

    def fence(self, _connection: Connection) -> None:
        """As `take`: who has the lock is the only writer."""

    def fault(self, error: sa.exc.DBAPIError) -> sa.exc.DBAPIError:
        """The driver's own error: it names the file and holds no secret."""
        return error

    def scrub(self) -> bool:
        """Overwrite what was erased: pages are zeroed when freed, and the journal is emptied here.

        False while a reader needs the journal: then once more, later.
        """
        connection = self.writer.raw_connection()
        try:
            cursor = connection.cursor()
            busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            cursor.close()
        finally:
            connection.close()
        return not busy

    def close(self) -> None:
        """Close everything; another process may open the file now."""
        self.readers.dispose()
        self.writer.dispose()
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


def _make(path: Path) -> None:
    # It holds what devices recorded and others claimed: for its owner, whatever
    # the umask. SQLite gives the files beside it the same mode, and says what is wrong where it
    # cannot be made.
    with suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))


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
        # A body that was erased must not stay readable in a page that is free.
        cursor.execute("PRAGMA secure_delete=ON")
        cursor.execute("PRAGMA temp_store=MEMORY")
        cursor.execute("PRAGMA cache_size=-32768")
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine
