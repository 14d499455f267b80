"""Many rows at once, and statements that run once a claim, at the driver's own price.

SQLAlchemy's way through a compiled INSERT costs more for each row than the database does. What it
compiles is kept here and given to the driver with the rows as they are: both drivers take bytes,
integers and booleans without being told, and only text is made the driver's (portable.py).
"""

from collections import namedtuple
from collections.abc import Callable, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

Row = dict[str, Any]
_PLAIN = (sa.LargeBinary, sa.Boolean, sa.Integer)


class _Compiled:
    # Text; what makes a value the driver's, by name; where parameters are positional, their order.

    def __init__(self, statement: Any, dialect: sa.Dialect) -> None:
        made = statement.compile(dialect=dialect)
        self.text = str(made)
        found = {
            key: bind.type.dialect_impl(dialect).bind_processor(dialect)
            for key, bind in made.binds.items()
            if not isinstance(bind.type, _PLAIN)
        }
        self._processors = {key: made for key, made in found.items() if made is not None}
        # Values that stand in the statement itself: SQLite's OFFSET 0 behind each LIMIT.
        self._own = {
            key: bind.effective_value for key, bind in made.binds.items() if not bind.required
        }
        order = made.positiontup
        self._in_order: Callable[[Row], Any] | None = None
        if order is not None:
            # Of one name itemgetter would give the value alone, and of none it is an error.
            several = len(order) > 1
            self._in_order = itemgetter(*order) if several else lambda row: (*map(row.get, order),)

        self._statement = statement
        self._dialect = dialect

    @cached_property
    def _named(self) -> tuple[Any, list[tuple[int, Callable[[Any], Any]]]]:
        # What makes a row of values; where a value is not yet what SQLAlchemy gives, what makes it.
        columns = list(self._statement.selected_columns)
        names = [str(column.key) for column in columns]
        found = [
            (at, column.type.dialect_impl(self._dialect).result_processor(self._dialect, None))
            for at, column in enumerate(columns)
        ]
        made: Any = namedtuple("Row", names)  # type: ignore[misc]  # noqa: PYI024 - of a statement
        return made._make, [(at, read) for at, read in found if read is not None]

    def named(self, rows: list[Any]) -> list[Any]:
        """Rows of the driver as SQLAlchemy would give them."""
        make, processors = self._named
        if not processors:
            return list(map(make, rows))
        found = []
        for row in rows:
            values = list(row)
            for at, read in processors:
                values[at] = read(values[at])
            found.append(make(values))
        return found

    def given(self, row: Row) -> Any:
        """A row as the driver takes it."""
        if self._own:
            row = {**self._own, **row}
        if self._processors:
            row = dict(row)
            for key, processor in self._processors.items():
                row[key] = processor(row[key])
        return row if self._in_order is None else self._in_order(row)


class Prepared:
    """A statement that is compiled once for a database: what runs once a claim must be cheap."""

    def __init__(self, statement: Any) -> None:
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, connection: Connection, **values: object) -> list[Any]:
        """What it reads with these bound values: tuples."""
        compiled = self._of(connection)
        given = compiled.given(values)
        try:
            cursor = connection.connection.cursor()
            cursor.execute(compiled.text, given)
            found = list(cursor.fetchall())
            cursor.close()
        except connection.dialect.loaded_dbapi.Error as error:
            raise _named_by_sqlalchemy(connection, compiled.text, given, error) from error
        return found

    def found(self, connection: Connection, **values: object) -> list[Any]:
        """The same with columns by name, each value as SQLAlchemy gives it."""
        return self._of(connection).named(self.rows(connection, **values))

    def run_all(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Run it with each of these rows."""
        compiled = self._of(connection)
        connection.exec_driver_sql(compiled.text, [compiled.given(row) for row in rows])

    def _of(self, connection: Connection) -> _Compiled:
        name = connection.dialect.name
        compiled = self._compiled.get(name)
        if compiled is None:
            compiled = self._compiled[name] = _Compiled(self._statement, connection.dialect)
        return compiled


def _named_by_sqlalchemy(
    connection: Connection, text: str, given: Any, error: Exception
) -> BaseException:
    # What SQLAlchemy would raise of it. The statement is not tried once more for that: a server has
    # aborted the transaction, and would name that instead of the cause.
    dialect = connection.dialect
    if dialect.is_disconnect(error, connection.connection.dbapi_connection, None):  # type: ignore[arg-type]
        # But for this: only SQLAlchemy lets a broken connection go.
        connection.exec_driver_sql(text, given)
    return sa.exc.DBAPIError.instance(
        text,
        given,
        error,
        dialect.loaded_dbapi.Error,
        hide_parameters=connection.engine.hide_parameters,
        dialect=dialect,
    )


class Among:
    """A query of what is in a list, compiled once for each of a few lengths.

    make: gives the query for so many bound values. A shorter list says its last value again.
    """

    LENGTHS = (1, 8, 64, 512)

    def __init__(
        self, kind: Any, make: Callable[[list["sa.BindParameter[Any]"]], "sa.Select[Any]"]
    ) -> None:
        self._prepared = []
        for length in self.LENGTHS:
            names = [f"in_{at}" for at in range(length)]
            bound = [sa.bindparam(name, type_=kind) for name in names]
            self._prepared.append((names, Prepared(make(bound))))

    def found(self, connection: Connection, wanted: Sequence[Any]) -> list[Any]:
        """Rows with columns by name; of each part of a long list in turn."""
        rows: list[Any] = []
        longest = self.LENGTHS[-1]
        for first in range(0, len(wanted), longest):
            part = list(wanted[first : first + longest])
            names, prepared = next(one for one in self._prepared if len(one[0]) >= len(part))
            part += part[-1:] * (len(names) - len(part))
            rows += prepared.found(connection, **dict(zip(names, part, strict=True)))
        return rows


_inserts: dict[tuple[str, ...], Prepared] = {}


def insert_rows(connection: Connection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Insert rows that all have the columns of the first one."""
    if not rows:
        return
    # A handful of shapes: what the code writes, and nothing that a stranger sends, makes one.
    shape = (table.name, *rows[0])
    known = _inserts.get(shape)
    if known is None:
        values = {name: sa.bindparam(name, type_=table.c[name].type) for name in rows[0]}
        known = _inserts[shape] = Prepared(sa.insert(table).values(values))
    known.run_all(connection, rows)
