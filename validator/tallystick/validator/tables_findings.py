"""Tables of reconciliation: claims, party sets, neighbours, verdicts."""

from sqlalchemy import (
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    text,
)

from tallystick.validator.portable import BIG, TEXT
from tallystick.validator.tables_log import metadata

# --- reconciliation ------------------------------------------------------------------------
claims = Table(
    "claims",
    metadata,
    Column("claim", LargeBinary, primary_key=True),  # its reference
    Column("log", BIG, nullable=False),
    Column("at", BIG, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    Column("device", LargeBinary, nullable=False),
    Column("entry", BIG, nullable=False),
    Column("time_ms", BIG, nullable=False),  # log time
    Column("party_set", BIG, nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("record", LargeBinary, nullable=False),
    Column("path", LargeBinary, nullable=False),
    Column("checkpoint", LargeBinary, nullable=False),
    Index("claims_by_index", "log", "at"),
    Index("claims_by_set", "party_set", "device"),
    Index("claims_by_device", "device", "party_set"),
)
party_sets = Table(
    "party_sets",
    metadata,
    Column("party_set", BIG, primary_key=True, autoincrement=False),
    Column("namespace", TEXT, nullable=False),
    Column("interaction", LargeBinary, nullable=False),
    Column("parties_digest", LargeBinary, nullable=False),
    Column("parties", LargeBinary, nullable=False),
    Column("profile", LargeBinary, nullable=False),
    Column("first", BIG, nullable=False),  # entry of its first logged claim
    Column("first_ms", BIG, nullable=False),
    Column("due_ms", BIG, nullable=True),  # set while a role is missing and no closing is logged
    Column("deadline_ms", BIG, nullable=True),  # of the profile, when that is known
    Column("closing", BIG, nullable=True),  # its entry
    Column("dirty", Boolean, nullable=False),
    Column("state", TEXT, nullable=False),
    Column("finding", LargeBinary, nullable=True),  # digest of what was signed last
    Column("verdict", LargeBinary, nullable=True),
    Column("verdict_entry", BIG, nullable=True),
    # What a worker was given it in; what it finds counts while the set is not dirty.
    Column("portion", BIG, nullable=True),
    UniqueConstraint("namespace", "interaction", "profile", "parties_digest"),
)
# Partial where the database can: a store has few that are due or dirty and many that are done.
Index(
    "party_sets_due",
    party_sets.c.due_ms,
    sqlite_where=party_sets.c.due_ms.is_not(None),
    postgresql_where=party_sets.c.due_ms.is_not(None),
)
# Spelt as queries spell it, or SQLite does not see that the index is meant.
Index(
    "party_sets_dirty",
    party_sets.c.party_set,
    sqlite_where=text("dirty = 1"),
    postgresql_where=text("dirty"),
)
Index(
    "party_sets_portion",
    party_sets.c.portion,
    sqlite_where=party_sets.c.portion.is_not(None),
    postgresql_where=party_sets.c.portion.is_not(None),
)
Index("party_sets_by_state", party_sets.c.state, party_sets.c.party_set)
# Leaves whose bodies are not here, by the reference that a claim would have.
bodiless = Table(
    "bodiless",
    metadata,
    Column("claim", LargeBinary, primary_key=True),
    Column("log", BIG, nullable=False),
    Column("at", BIG, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    Column("device", LargeBinary, nullable=False),
    Column("checkpoint", LargeBinary, nullable=False),
    Index("bodiless_by_device", "device"),
)
# References that claims of a set relied on and that nobody has read here yet.
relying = Table(
    "relying",
    metadata,
    Column("claim", LargeBinary, nullable=False),
    Column("party_set", BIG, nullable=False),
    PrimaryKeyConstraint("claim", "party_set"),
    Index("relying_by_set", "party_set"),
)
# Direct neighbours (docs/reconciliation.md, 5.8): what releases cite, and when grants last.
releases = Table(
    "releases",
    metadata,
    Column("cited", LargeBinary, nullable=False),  # reference of an acquisition, or what may be one
    Column("chain", LargeBinary, nullable=False),  # what rivals share beside it
    Column("claim", LargeBinary, nullable=False),
    Column("party_set", BIG, nullable=False),
    PrimaryKeyConstraint("cited", "chain", "claim"),
    Index("releases_by_claim", "claim"),
)
grants = Table(
    "grants",
    metadata,
    Column("scope", LargeBinary, nullable=False),  # what grants share that count for each other
    Column("way", Integer, nullable=False),  # 0 surely, 1 at most
    Column("begin_ms", BIG, nullable=False),
    Column("end_ms", BIG, nullable=False),
    Column("longest_ms", BIG, nullable=False),
    Column("claim", LargeBinary, nullable=False),
    Column("party_set", BIG, nullable=False),
    PrimaryKeyConstraint("scope", "way", "begin_ms", "claim"),
    Index("grants_by_claim", "claim"),
)
# Closed sets that wait for evidence that a missing party's log is complete past the deadline.
unheard = Table(
    "unheard",
    metadata,
    Column("device", LargeBinary, nullable=False),
    Column("due_ms", BIG, nullable=False),
    Column("party_set", BIG, nullable=False),
    PrimaryKeyConstraint("device", "due_ms", "party_set"),
)
silences = Table(
    "silences",
    metadata,
    Column("party_set", BIG, nullable=False),
    Column("device", LargeBinary, nullable=False),
    Column("checkpoint", LargeBinary, nullable=False),
    Column("receipt", LargeBinary, nullable=False),
    Column("time_ms", BIG, nullable=False),
    PrimaryKeyConstraint("party_set", "device"),
)
verdicts = Table(
    "verdicts",
    metadata,
    Column("entry", BIG, primary_key=True, autoincrement=False),
    Column("party_set", BIG, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("state", TEXT, nullable=False),
    Index("verdicts_by_set", "party_set", "entry"),
)
verdict_parties = Table(
    "verdict_parties",
    metadata,
    Column("device", LargeBinary, nullable=False),
    Column("entry", BIG, nullable=False),
    PrimaryKeyConstraint("device", "entry"),
)
