"""Tables of work that processes beside the sequencer may take (docs/adr/0015).

Rows are inserted and deleted, never changed, but for each worker's own: a process that is stopped
while it holds a lock must block nobody.
"""

from sqlalchemy import Column, LargeBinary, Table

from tallystick.validator.portable import BIG, TEXT
from tallystick.validator.tables_log import metadata

# Party sets whose findings are due: who locks a row computes them.
portions = Table(
    "portions",
    metadata,
    Column("portion", BIG, primary_key=True, autoincrement=False),
    Column("basis", LargeBinary, nullable=False),
    Column("now_ms", BIG, nullable=False),  # log time: what is past its deadline is closed
    Column("sets", LargeBinary, nullable=False),  # CBOR: their numbers
)
# What a worker found for a portion; the sequencer signs it, or throws it away.
proposals = Table(
    "proposals",
    metadata,
    Column("portion", BIG, primary_key=True, autoincrement=False),
    Column("found", LargeBinary, nullable=False),  # proposal.py
)
# What findings rest on beside the store: the accepted roots and profiles of the sequencer.
bases = Table(
    "bases",
    metadata,
    Column("basis", LargeBinary, primary_key=True),  # its digest
    Column("data", LargeBinary, nullable=False),
)
# Processes that live, by the server's clock.
workers = Table(
    "workers",
    metadata,
    Column("worker", TEXT, primary_key=True),
    Column("duty", TEXT, primary_key=True),
    Column("beat_ms", BIG, nullable=False),
    Column("since_ms", BIG, nullable=False),
    Column("done", BIG, nullable=False),
)
