"""The store: one SQLite file, WAL, `synchronous=FULL` where a COMMIT gates an acknowledgement.

Two connections write, one at a time. `main` is the ingest worker's and synchronous=FULL: a power
cut loses nothing that was acknowledged. `aside` is synchronous=NORMAL: what it writes (custody
receipts, cursors, validators' answers) survives a killed process, and after a power cut it is made
or asked for again. A second process on the same store is refused, as is a store of a newer version.
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path

from tallystick.evidence.errors import CouldNotCheck, Malformed
from tallystick.gateway import limits
from tallystick.gateway.capacity import Usage

VERSION = 5
APPLICATION_ID = 0x7A11_9A7E  # the file command and other programs see whose file this is
# What makes version n + 1 of version n.
_SCHEMAS = [
    resources.files("tallystick.gateway").joinpath(name)
    for name in ("schema.sql", "schema_2.sql", "schema_3.sql", "schema_4.sql", "schema_5.sql")
]
_FULL = 2
_NORMAL = 1


class StoreBusy(CouldNotCheck):
    """Another process has this store open."""


class Store:
    """An open store.

    Raises StoreBusy where another process has it, Malformed where it is not ours or newer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = _lock(path)
        # One writer at a time within the process; SQLite's own lock would make them poll.
        self._turn = threading.RLock()
        try:
            _make(path)
            self._main = _connect(path, _FULL)
            _prepare(self._main, path)
            self._aside = _connect(path, _NORMAL)
        except BaseException:
            os.close(self._descriptor)
            raise

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction of the ingest worker: durable on disk when the block ends."""
        with self._transaction(self._main) as connection:
            yield connection

    @contextmanager
    def write_aside(self) -> Iterator[sqlite3.Connection]:
        """A transaction that gates nothing: survives the process, not a power cut."""
        with self._transaction(self._aside) as connection:
            yield connection

    @contextmanager
    def unclosed(self) -> Iterator[None]:
        """Who reads a writing connection outside a transaction keeps it open meanwhile."""
        with self._turn:
            yield

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        with self._turn:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # After some errors (full disk) SQLite has rolled back by itself.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def usage(self) -> Usage:
        """What the store takes and could take, in bytes."""
        with self._turn:
            return measure(self._aside, self.path)

    def reader(self) -> sqlite3.Connection:
        """A connection of one's own thread that cannot write; its caller closes it."""
        return open_reader(self.path)

    def close(self) -> None:
        """Close everything; another process may open the store now.

        Waits for the transaction under way; a thread that comes later gets sqlite3's own error.
        """
        # A connection that is closed while another thread is in it takes the process down.
        with self._turn:
            self._aside.close()
            self._main.close()
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1


@contextmanager
def operator_write(path: Path) -> Iterator[sqlite3.Connection]:
    """A transaction of an operator's command, durable when the block ends.

    A gateway may run meanwhile: SQLite's own lock keeps the two apart. CouldNotCheck where
    there is no store, or one that this program's gateway has yet to upgrade.
    """
    open_reader(path).close()
    connection = _connect(path, _FULL)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            raise CouldNotCheck(
                "bad-value", f"{path} is of version {version}; start the gateway once to upgrade it"
            )
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    finally:
        connection.close()


def measure(connection: sqlite3.Connection, path: Path) -> Usage:
    """What a store takes and could take, in bytes; its write-ahead log is not counted."""
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (empty,) = connection.execute("PRAGMA freelist_count").fetchone()
    disk = os.statvfs(path.parent)
    return Usage((pages - empty) * size, empty * size, disk.f_bavail * disk.f_frsize)


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that reads only, also while a gateway runs; CouldNotCheck when none is there."""
    if not path.exists():
        raise CouldNotCheck("bad-value", f"{path}: no store; has the gateway run yet?")
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout={limits.BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA query_only=ON")
    _check_version(connection, path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.close()
        raise CouldNotCheck("bad-value", f"{path}: the gateway is still making its store")
    return connection


def _lock(path: Path) -> int:
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreBusy(
            "bad-value",
            f"{path} is open in another process; one store has one gateway. Stop that one first",
        ) from error
    return descriptor


def _make(path: Path) -> None:
    # It holds what devices recorded: for its owner, whatever the umask. SQLite gives the files
    # beside it the same mode, and says what is wrong where it cannot be made.
    with suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def _connect(path: Path, synchronous: int) -> sqlite3.Connection:
    # Transactions are ours (isolation_level None): the driver's own would begin late.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout={limits.BUSY_TIMEOUT_MS}")
    try:
        _check_version(connection, path)
    except Malformed as error:
        if isinstance(error.__cause__, sqlite3.OperationalError):
            # A full disk, an I/O error: it says nothing of the store, and whoever starts waits.
            raise error.__cause__ from error
        raise
    wanted: tuple[tuple[str, str, object], ...] = (
        ("journal_mode", "WAL", "wal"),
        ("synchronous", str(synchronous), synchronous),
        ("wal_autocheckpoint", str(limits.WAL_PAGES), limits.WAL_PAGES),
        ("foreign_keys", "ON", 1),
        ("temp_store", "MEMORY", 2),
    )
    for name, value, expected in wanted:
        connection.execute(f"PRAGMA {name}={value}").fetchall()
        # Read back: a PRAGMA that cannot be honoured (a file system without shared memory, say)
        # fails without a word, and an acknowledgement would then promise too much.
        (got,) = connection.execute(f"PRAGMA {name}").fetchone()
        if got != expected:
            connection.close()
            raise CouldNotCheck(
                "store-full", f"{path}: SQLite did not take {name}={value} (it is {got})"
            )
    connection.execute("PRAGMA cache_size=-32768")
    return connection


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        # In this order: a gateway may make its store between the two.
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        raise Malformed("bad-value", f"{path}: {error}") from error
    if tables and application != APPLICATION_ID:
        connection.close()
        raise Malformed("bad-value", f"{path} is no gateway's store")
    if version > VERSION:
        connection.close()
        raise Malformed(
            "bad-value",
            f"{path} was written by a newer tallystick (store version {version}, this program "
            f"knows {VERSION}); upgrade the program, the store is unchanged",
        )


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == VERSION:
        return
    if not 0 <= version < VERSION:
        raise Malformed("bad-value", f"{path}: no way from store version {version} is known")
    steps = "\n".join(_SCHEMAS[version].read_text() for version in range(version, VERSION))
    # One transaction: a store is of one version, or not there.
    try:
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{steps}\nPRAGMA application_id={APPLICATION_ID};\n"
            f"PRAGMA user_version={VERSION};\nCOMMIT;"
        )
    except sqlite3.Error as error:
        connection.close()  # and with it what was begun
        raise CouldNotCheck(
            "bad-value",
            f"{path}: the store's upgrade to version {VERSION} failed ({error}); the store is as "
            "it was: make room where the disk is full, else go back to the program that wrote it",
        ) from error


def meta(connection: sqlite3.Connection, name: str) -> bytes | None:
    """One setting of the store."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if row is None else bytes(row[0])


def set_meta(connection: sqlite3.Connection, name: str, value: bytes) -> None:
    """Set one setting of the store."""
    connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (name, value))
