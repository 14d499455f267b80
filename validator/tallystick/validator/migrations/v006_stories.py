"""Version 6: gateways' logs by hashes, to compare what they told others."""

from alembic.operations import Operations
from sqlalchemy import Column, LargeBinary


def step(op: Operations) -> None:
    """A new column; heads of before have nothing in it."""
    op.add_column("gateway_heads", Column("part", LargeBinary, nullable=True))
