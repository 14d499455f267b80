"""Version 5: which claims of other interactions bear on each other."""

import sqlalchemy as sa
from alembic.operations import Operations

from tallystick.validator.portable import BIG


def step(op: Operations) -> None:
    """Two new tables; the service fills them when it starts."""
    op.create_table(
        "releases",
        sa.Column("cited", sa.LargeBinary, nullable=False),
        sa.Column("chain", sa.LargeBinary, nullable=False),
        sa.Column("claim", sa.LargeBinary, nullable=False),
        sa.Column("party_set", BIG, nullable=False),
        sa.PrimaryKeyConstraint("cited", "chain", "claim"),
    )
    op.create_index("releases_by_claim", "releases", ["claim"])
    op.create_table(
        "grants",
        sa.Column("scope", sa.LargeBinary, nullable=False),
        sa.Column("way", sa.Integer, nullable=False),
        sa.Column("begin_ms", BIG, nullable=False),
        sa.Column("end_ms", BIG, nullable=False),
        sa.Column("longest_ms", BIG, nullable=False),
        sa.Column("claim", sa.LargeBinary, nullable=False),
        sa.Column("party_set", BIG, nullable=False),
        sa.PrimaryKeyConstraint("scope", "way", "begin_ms", "claim"),
    )
    op.create_index("grants_by_claim", "grants", ["claim"])
