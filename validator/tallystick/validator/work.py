"""One transaction of the sequencer: rows that wait to be written, and what they refer to.

Rows are written in bulk at the end, so whoever asks for one in the same transaction asks here.
Nothing outside changes before the transaction is durable; `Caches` are dropped when it is not.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence import cose
from tallystick.validator import schema
from tallystick.validator.log import Group
from tallystick.validator.rows import Prepared, insert_rows

if TYPE_CHECKING:
    from tallystick.validator.custody import Offered
    from tallystick.validator.devicelog import DeviceLog
    from tallystick.validator.identities import Known
    from tallystick.validator.partysets import KnownSet

CHUNK = 500  # bound variables in one statement

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A bounded cache: what was not used longest goes first."""

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._items: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value, or None."""
        value = self._items.get(key)
        if value is not None:
            self._items.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep a value."""
        self._items[key] = value
        self._items.move_to_end(key)
        if len(self._items) > self._size_max:
            self._items.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        self._items.clear()


class Work:
    """What one batch, or one tick of the background, does to the store."""

    def __init__(self, connection: Connection, group: Group) -> None:
        self.connection = connection
        self.group = group
        self.refused: Counter[str] = Counter()
        self.custody: dict[bytes, Offered] = {}
        self.missing_custody: set[bytes] = set()
        self.heard: set[bytes] = set()
        self.dirty: set[int] = set()
        # Where this transaction looked for the neighbours of what it brought (nearby.py).
        self.neighbourhoods: set[object] = set()
        self.refused_at: set[tuple[int, int]] = set()
        self.logs: dict[tuple[bytes, bytes], DeviceLog] = {}
        self.known: dict[bytes, Known] = {}
        # (namespace, interaction) -> (profile, parties) -> party set, of this transaction
        self.interactions: dict[tuple[str, bytes], dict[tuple[bytes, bytes], KnownSet]] = {}
        self._rows: dict[sa.Table, list[dict[str, Any]]] = {}
        self._changes: dict[Prepared, list[dict[str, Any]]] = {}
        self._entries: dict[bytes, int] = {}
        # What workers found so far counts for nothing: what they read is not there any more.
        self.recall = False

    def logged(self) -> Connection:
        """The connection, after the entries of this transaction were written: to query them."""
        self.group.flush()
        return self.connection

    def insert(self, table: sa.Table, **row: object) -> None:
        """A row for the end of the transaction."""
        self._rows.setdefault(table, []).append(row)

    def update(self, statement: Prepared, **row: object) -> None:
        """A change for the end of the transaction; of one kind they are made at one go."""
        self._changes.setdefault(statement, []).append(row)

    def waiting(self, table: sa.Table) -> list[dict[str, Any]]:
        """The rows of a table that are not written yet."""
        return self._rows.get(table, [])

    def written(self, *tables: sa.Table) -> Connection:
        """The connection, after the waiting rows of these tables were written: to query them."""
        for table in tables:
            rows = self._rows.pop(table, None)
            if rows:
                insert_rows(self.connection, table, rows)
        return self.connection

    def statement(self, kind: int, sign1: "cose.Sign1", digest: bytes, *, new: bool = False) -> int:
        """Log a statement once; returns its index. `new`: the caller knows that it is not there."""
        entry = None if new else self.entry_of(digest)
        if entry is None:
            entry = self._entries.get(digest)
        if entry is None:
            entry = self.group.add_statement(kind, sign1)
            self._entries[digest] = entry
        return entry

    def entry_of(self, digest: bytes) -> int | None:
        """The index of a logged statement, or None."""
        entry = self._entries.get(digest)
        if entry is None:
            entry = entry_of(self.connection, digest)
            if entry is not None:
                self._entries[digest] = entry
        return entry

    def refuse(self, reason: str) -> None:
        """Count a refusal; counts are stored with the transaction."""
        self.refused[reason] += 1

    def flush(self) -> None:
        """Write everything that waits."""
        self.group.end()
        self.group.flush()
        for log in self.logs.values():
            log.save(self)
        for known in self.known.values():
            known.save(self)
        for statement, changes in self._changes.items():
            statement.run_all(self.connection, changes)
        self._changes.clear()
        for table, rows in self._rows.items():
            insert_rows(self.connection, table, rows)
        self._rows.clear()
        if self.dirty:
            mark_dirty(self, self.dirty)
            self.dirty.clear()
        if self.recall:
            recall(self.connection)
        for reason, count in self.refused.items():
            add_refusals(self.connection, reason, count)


def entry_of(connection: Connection, digest: bytes) -> int | None:
    """The index of a logged statement, or None."""
    entry: int | None = connection.execute(
        sa.select(schema.entries.c.entry).where(schema.entries.c.digest == digest)
    ).scalar_one_or_none()
    return entry


def recall(connection: Connection) -> None:
    """All sets that were given to workers are due again; what is found of them counts no more."""
    table = schema.party_sets
    connection.execute(
        sa.update(table).where(table.c.portion.is_not(None)).values(dirty=True, portion=None)
    )


def add_refusals(connection: Connection, reason: str, count: int) -> None:
    """Add to a reason's counter."""
    changed = connection.execute(
        sa.update(schema.refusals)
        .where(schema.refusals.c.reason == reason)
        .values(count=schema.refusals.c.count + count)
    )
    if not changed.rowcount:
        connection.execute(sa.insert(schema.refusals), {"reason": reason, "count": count})


def mark_dirty(work: Work, numbers: Iterable[int]) -> None:
    """Findings of these sets are due."""
    connection = work.written(schema.party_sets)
    table = schema.party_sets
    waiting = sorted(numbers)
    for at in range(0, len(waiting), CHUNK):
        connection.execute(
            sa.update(table)
            .where(table.c.party_set.in_(waiting[at : at + CHUNK]), ~table.c.dirty)
            .values(dirty=True)
        )
