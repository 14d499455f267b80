"""Erasures, the places of copies, and holds."""

import sqlalchemy as sa
from alembic.operations import Operations

from tallystick.validator.portable import BIG, TEXT


def step(op: Operations) -> None:
    """Version 3 to 4."""
    op.create_table(
        "erasures",
        sa.Column("log", BIG, nullable=False),
        sa.Column("first", BIG, nullable=False),
        sa.Column("to", BIG, nullable=False),
        sa.Column("kinds", sa.Integer, nullable=False),
        sa.Column("entry", BIG, nullable=False),
        sa.PrimaryKeyConstraint("log", "first", "to", "kinds", "entry"),
    )
    op.create_table(
        "copies",
        sa.Column("claim", sa.LargeBinary, nullable=False),
        sa.Column("log", BIG, nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.PrimaryKeyConstraint("claim", "log", "at"),
    )
    op.create_table(
        "holds",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("fleet", TEXT, nullable=True),
        sa.Column("device", sa.LargeBinary, nullable=True),
        sa.Column("namespace", TEXT, nullable=True),
        sa.Column("interaction", sa.LargeBinary, nullable=True),
        sa.Column("why", TEXT, nullable=False),
        sa.Column("by", TEXT, nullable=False),
        sa.Column("since_ms", BIG, nullable=False),
    )
