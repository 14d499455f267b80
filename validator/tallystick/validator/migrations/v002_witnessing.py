"""Version 2: what is witnessed of other logs, and their cosignatures on this one."""

from alembic.operations import Operations
from sqlalchemy import Column, LargeBinary, PrimaryKeyConstraint

from tallystick.validator.portable import BIG, TEXT


def step(op: Operations) -> None:
    """Three new tables."""
    op.create_table(
        "witnessed",
        Column("origin", TEXT, primary_key=True),
        Column("size", BIG, nullable=False),
        Column("root", LargeBinary, nullable=False),
        Column("note", TEXT, nullable=False),
        Column("line", TEXT, nullable=True),
        Column("time_s", BIG, nullable=False),
    )
    op.create_table(
        "cosignatures",
        Column("size", BIG, nullable=False),
        Column("name", TEXT, nullable=False),
        Column("line", TEXT, nullable=False),
        Column("time_s", BIG, nullable=False),
        PrimaryKeyConstraint("size", "name"),
    )
    op.create_table(
        "split_views",
        Column("origin", TEXT, nullable=False),
        Column("size", BIG, nullable=False),
        Column("ours", TEXT, nullable=False),
        Column("theirs", TEXT, nullable=False),
        Column("time_ms", BIG, nullable=False),
        PrimaryKeyConstraint("origin", "size"),
    )
