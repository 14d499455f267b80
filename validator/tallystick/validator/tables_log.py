"""Tables of this validator's own log, and of what it says to others and hears of them."""

from sqlalchemy import (
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)

from tallystick.validator.portable import BIG, TEXT

metadata = MetaData()
meta = Table(
    "meta",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("value", TEXT, nullable=False),
)

# --- this validator's log ------------------------------------------------------------------
entries = Table(
    "entries",
    metadata,
    Column("entry", BIG, primary_key=True, autoincrement=False),
    Column("kind", Integer, nullable=False),
    Column("digest", LargeBinary, nullable=True),  # of statements only; each is logged once
    Column("leaf", LargeBinary, nullable=False),
    Column("time_ms", BIG, nullable=False),  # its log time
    Column("data", LargeBinary, nullable=False),
    UniqueConstraint("digest"),
    Index("entries_by_kind", "kind", "entry"),
)
nodes = Table(
    "nodes",
    metadata,
    Column("level", Integer, nullable=False),
    Column("at", BIG, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("level", "at"),
    sqlite_with_rowid=False,
)
# Published checkpoints. One signature over the root serves every receipt of that size.
heads = Table(
    "heads",
    metadata,
    Column("size", BIG, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", TEXT, nullable=False),
    Column("protected", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("time_ms", BIG, nullable=False),
)

# --- witnessing: other validators' logs, and what they say of this one ------------------------
# The checkpoint of each log that was cosigned last; `line` is null until the signature is made.
witnessed = Table(
    "witnessed",
    metadata,
    Column("origin", TEXT, primary_key=True),
    Column("size", BIG, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", TEXT, nullable=False),
    Column("line", TEXT, nullable=True),
    Column("time_s", BIG, nullable=False),
)
# Cosignatures on this log's checkpoints.
cosignatures = Table(
    "cosignatures",
    metadata,
    Column("size", BIG, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("line", TEXT, nullable=False),
    Column("time_s", BIG, nullable=False),
    PrimaryKeyConstraint("size", "name"),
)
# Two checkpoints of one size with two roots, both signed by the log: a portable proof.
split_views = Table(
    "split_views",
    metadata,
    Column("origin", TEXT, nullable=False),
    Column("size", BIG, nullable=False),
    Column("ours", TEXT, nullable=False),
    Column("theirs", TEXT, nullable=False),
    Column("time_ms", BIG, nullable=False),
    PrimaryKeyConstraint("origin", "size"),
)

# --- the trust circle ------------------------------------------------------------------------
# Imported organisations: the newest good file of each, which stays in force when a bad one comes.
peer_files = Table(
    "peer_files",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("since_ms", BIG, nullable=False),
)
# What a key sent (quotas.py): thousandths of records left at `at_ms`, bytes of that UTC day.
quota_use = Table(
    "quota_use",
    metadata,
    Column("holder", TEXT, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("left", BIG, nullable=False),
    Column("at_ms", BIG, nullable=False),
    Column("bytes", BIG, nullable=False),
    PrimaryKeyConstraint("key", "holder"),
)
