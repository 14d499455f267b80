"""Version 8: batches that workers look at ahead of the sequencer."""

import sqlalchemy as sa
from alembic.operations import Operations

from tallystick.validator.portable import BIG


def step(op: Operations) -> None:
    """A new table with its index."""
    op.create_table(
        "inbox",
        sa.Column("number", BIG, primary_key=True, autoincrement=False),
        sa.Column("turn", BIG, nullable=False),
        sa.Column("batch", sa.LargeBinary, nullable=False),
        sa.Column("facts", sa.LargeBinary, nullable=True),
    )
    op.create_index("inbox_by_turn", "inbox", ["turn", "number"])
