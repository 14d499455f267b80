"""Version 7: work that processes beside the sequencer take."""

import sqlalchemy as sa
from alembic.operations import Operations

from tallystick.validator.portable import BIG, TEXT


def step(op: Operations) -> None:
    """Four new tables, empty; no finding is a worker's yet."""
    op.create_table(
        "portions",
        sa.Column("portion", BIG, primary_key=True, autoincrement=False),
        sa.Column("basis", sa.LargeBinary, nullable=False),
        sa.Column("now_ms", BIG, nullable=False),
        sa.Column("sets", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "proposals",
        sa.Column("portion", BIG, primary_key=True, autoincrement=False),
        sa.Column("found", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "bases",
        sa.Column("basis", sa.LargeBinary, primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "workers",
        sa.Column("worker", TEXT, primary_key=True),
        sa.Column("duty", TEXT, primary_key=True),
        sa.Column("beat_ms", BIG, nullable=False),
        sa.Column("since_ms", BIG, nullable=False),
        sa.Column("done", BIG, nullable=False),
    )
    op.add_column("party_sets", sa.Column("portion", BIG, nullable=True))
    op.create_index(
        "party_sets_portion",
        "party_sets",
        ["portion"],
        sqlite_where=sa.text("portion IS NOT NULL"),
        postgresql_where=sa.text("portion IS NOT NULL"),
    )
    op.create_index("bodiless_by_device", "bodiless", ["device"])
