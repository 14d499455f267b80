"""Version 3: imported organisations, and what each key sent."""

from alembic.operations import Operations
from sqlalchemy import Column, LargeBinary, PrimaryKeyConstraint

from tallystick.validator.portable import BIG, TEXT


def step(op: Operations) -> None:
    """Two new tables."""
    op.create_table(
        "peer_files",
        Column("name", TEXT, primary_key=True),
        Column("data", LargeBinary, nullable=False),
        Column("since_ms", BIG, nullable=False),
    )
    op.create_table(
        "quota_use",
        Column("holder", TEXT, nullable=False),
        Column("key", LargeBinary, nullable=False),
        Column("left", BIG, nullable=False),
        Column("at_ms", BIG, nullable=False),
        Column("bytes", BIG, nullable=False),
        PrimaryKeyConstraint("key", "holder"),
    )
