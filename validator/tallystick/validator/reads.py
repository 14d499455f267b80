"""What findings are read from: the sequencer's own transaction, or a worker's snapshot."""

from typing import TYPE_CHECKING, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.validator.work import entry_of

if TYPE_CHECKING:
    from tallystick.validator.devicelog import DeviceLog


class Reads(Protocol):
    """`Work`, or a `Snapshot`."""

    connection: Connection
    logs: "dict[tuple[bytes, bytes], DeviceLog]"

    def written(self, *tables: sa.Table) -> Connection:
        """The connection, to query these tables."""

    def logged(self) -> Connection:
        """The connection, to query the log's entries."""

    def entry_of(self, digest: bytes) -> int | None:
        """The index of a logged statement, or None."""


class Snapshot:
    """What a worker reads: one moment of the store, in which nothing waits to be written."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.logs: dict[tuple[bytes, bytes], DeviceLog] = {}

    def written(self, *_: sa.Table) -> Connection:
        """The connection."""
        return self.connection

    def logged(self) -> Connection:
        """The connection."""
        return self.connection

    def entry_of(self, digest: bytes) -> int | None:
        """The index of a logged statement, or None."""
        return entry_of(self.connection, digest)
