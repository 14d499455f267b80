"""Many rows at once, and statements that run once a claim, at the driver's own price.

SQLAlchemy's way through a compiled INSERT costs more for each row than the database does. What it
compiles is kept here and given to the driver with the rows as they are: both drivers take bytes,
integers and booleans without being told, and only text is made the driver's (portable.py).
"""

from collections.abc import Callable, Sequence
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
        order = made.positiontup
        self._in_order: Callable[[Row], Any] | None = None
        if order is not None:
            # Of one name itemgetter would give the value alone, and of none it is an error.
            several = len(order) > 1
            self._in_order = itemgetter(*order) if several else lambda row: (*map(row.get, order),)

    def given(self, row: Row) -> Any:
        """A row as the driver takes it."""
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
        except connection.dialect.loaded_dbapi.Error:
            # Once more, SQLAlchemy's way: it names the error, and lets a broken connection go.
            found = list(connection.exec_driver_sql(compiled.text, given))
        return found

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
