"""The store: one writer, many readers, in an SQLite file or a PostgreSQL database.

Whoever writes holds the sequencer's lock. An older store is migrated under that lock, in one
transaction or not at all; a newer one is refused and never changed by an older program (F19).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence.errors import Malformed
from tallystick.validator import schema
from tallystick.validator._postgresql import PostgresServer
from tallystick.validator._sqlite import SqliteFile
from tallystick.validator.place import Place, Server
from tallystick.validator.storefaults import StoreBusy, StoreLost

__all__ = ["Store", "StoreBusy", "StoreLost", "get_meta", "set_meta"]


class Store:
    """An open store; `write()` is for the one sequencer, `read()` for anyone.

    Raises StoreBusy where another process sequences it, Malformed where it is not ours or newer,
    CouldNotCheck where a server does not answer.
    """

    def __init__(self, place: Place) -> None:
        self.path = place
        self.lost = False
        self._base = _open(place)
        try:
            self.take()
        except BaseException:
            self._base.close()
            raise

    def take(self) -> None:
        """Become the writer, anew after `lost`; whoever does reads anew all that it remembers."""
        try:
            self._base.take()
            with self._base.writer.begin() as connection:
                _prepare(connection, self.path)
                self._base.fence(connection)
        except sa.exc.DBAPIError as error:
            raise self._base.fault(error) from None
        self.lost = False

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that nobody else writes beside; durable at its end.

        Raises StoreLost where the lock may be another's, then and ever after until `take`.
        """
        if self.lost:
            raise StoreLost("bad-value", f"{self.path}: the sequencer's session is gone")
        try:
            with self._base.writer.begin() as connection:
                self._base.fence(connection)
                yield connection
        except StoreLost:
            self.lost = True
            raise
        except sa.exc.DBAPIError as error:
            self.lost = error.connection_invalidated
            raise

    def holds_lock(self) -> bool:
        """Whether this process is the sequencer still; asked by who has nothing to write."""
        if not self.lost and not self._base.holds_lock():
            self.lost = True
        return not self.lost

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot: what one answer is made of belongs together."""
        with self._base.readers.begin() as connection:
            yield connection

    def scrub(self) -> bool:
        """Overwrite what was erased, as far as this is ours to do.

        False while a reader needs the journal: then once more, later.
        """
        return self._base.scrub()

    def close(self) -> None:
        """Close everything; another process may open the store now."""
        self._base.close()


def _open(place: Place) -> SqliteFile | PostgresServer:
    if not isinstance(place, Server):
        return SqliteFile(place)
    return PostgresServer(place)


def _prepare(connection: Connection, place: Place) -> None:
    if not sa.inspect(connection).has_table("meta"):
        schema.metadata.create_all(connection)
        set_meta(connection, "schema", str(schema.VERSION))
        return
    found = get_meta(connection, "schema")
    if found is None or not found.isascii() or not found.isdigit():
        raise Malformed("bad-value", f"{place} is no validator's store")
    if int(found) > schema.VERSION:
        raise Malformed(
            "bad-value",
            f"{place} was written by a newer tallystick (store version {found}, this program knows "
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
