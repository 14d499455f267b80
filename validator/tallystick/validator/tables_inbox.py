"""The table of batches that are looked at ahead of the one writer (inbox.py, docs/adr/0016)."""

from sqlalchemy import Column, Index, LargeBinary, Table

from tallystick.validator.portable import BIG
from tallystick.validator.tables_log import metadata

# Copies: what is promised to nobody. The queue itself is in the sequencer's memory.
inbox = Table(
    "inbox",
    metadata,
    Column("number", BIG, primary_key=True, autoincrement=False),
    Column("turn", BIG, nullable=False),  # its place among all lanes
    Column("batch", LargeBinary, nullable=False),  # compressed, as it came
    Column("facts", LargeBinary, nullable=True),  # once a worker looked at it (ahead.py)
    Index("inbox_by_turn", "turn", "number"),
)
