"""What SQLite and PostgreSQL say differently."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class _Text(sa.types.TypeDecorator[str]):
    """PostgreSQL's text holds no U+0000, and a stranger's name may: escaped by a backslash.

    Ordered by bytes, as in SQLite: a locale's order would differ from one server to the next.
    """

    impl = sa.Text
    cache_ok = True

    def __init__(self) -> None:
        super().__init__(collation="C")

    def process_bind_param(self, value: str | None, _dialect: sa.Dialect) -> str | None:
        if value is None or not ("\\" in value or "\0" in value):
            return value
        return value.replace("\\", "\\\\").replace("\0", "\\0")

    def process_result_value(self, value: str | None, _dialect: sa.Dialect) -> str | None:
        if value is None or "\\" not in value:
            return value
        return "\\".join(part.replace("\\0", "\0") for part in value.split("\\\\"))


# SQLite makes a rowid alias only of INTEGER; elsewhere 64 bits are wanted.
BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TEXT = sa.Text().with_variant(_Text(), "postgresql")


class _Position(FunctionElement[int]):
    """Where bytes begin in a column, from 1; 0: nowhere."""

    type = sa.Integer()
    inherit_cache = True


@compiles(_Position)
def _instr(element: _Position, compiler: SQLCompiler, **options: Any) -> str:
    column, wanted = (compiler.process(one, **options) for one in element.clauses)
    return f"instr({column}, {wanted})"


@compiles(_Position, "postgresql")
def _position(element: _Position, compiler: SQLCompiler, **options: Any) -> str:
    column, wanted = (compiler.process(one, **options) for one in element.clauses)
    return f"position({wanted} IN {column})"


def holds(column: sa.ColumnElement[bytes], wanted: bytes) -> sa.ColumnElement[bool]:
    """Whether these bytes stand in a column, anywhere."""
    return _Position(column, sa.literal(wanted, sa.LargeBinary)) > 0


def total(column: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """The sum, 0 of nothing, as an integer: PostgreSQL's is a decimal number."""
    return sa.cast(sa.func.coalesce(sa.func.sum(column), 0), BIG)
