"""Tables of who is known, of devices' and gateways' logs, and of what was erased."""

from sqlalchemy import (
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)

from tallystick.validator.portable import BIG, TEXT
from tallystick.validator.tables_log import metadata

# --- who is known --------------------------------------------------------------------------
identities = Table(
    "identities",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("subject", Integer, nullable=False),
    Column("iss", TEXT, nullable=False),
    Column("credential", LargeBinary, nullable=False),
    Column("suspect", TEXT, nullable=True),  # why, when it contradicted itself
    Column("decisions", BIG, nullable=False, default=0),
    Column("claims", BIG, nullable=False, default=0),
    Column("events", BIG, nullable=False, default=0),
    Column("halves", BIG, nullable=False, default=0),
    Column("refused", BIG, nullable=False, default=0),
    Column("since_ms", BIG, nullable=False),
    Column("heard_ms", BIG, nullable=True),
    Index("identities_by_subject", "subject", "id"),
)
keys = Table(
    "keys",
    metadata,
    Column("key", LargeBinary, primary_key=True),  # thumbprint: one key belongs to one id
    Column("kid", LargeBinary, nullable=False),
    Column("id", LargeBinary, nullable=False),
    Index("keys_by_kid", "kid"),
)

# --- devices' logs -------------------------------------------------------------------------
logs = Table(
    "logs",
    metadata,
    Column("log", BIG, primary_key=True, autoincrement=False),
    Column("device", LargeBinary, nullable=False),
    Column("epoch", LargeBinary, nullable=False),
    Column("size", BIG, nullable=False),
    Column("edge", LargeBinary, nullable=False),  # hashes, joined
    Column("began", BIG, nullable=False),  # knowledge begins here
    Column("covered", BIG, nullable=False),  # indexes between them of which something is known
    Column("claims", BIG, nullable=False),  # claims held below `size`
    Column("ahead", BIG, nullable=False),  # claims held, by a counterpart, from `size` on
    Column("heads_ahead", BIG, nullable=False),  # checkpoints not yet compared with its leaves
    Column("frozen_at", BIG, nullable=True),  # its device left it at this size
    Column("checkpoint", LargeBinary, nullable=True),  # digest of the newest
    UniqueConstraint("device", "epoch"),
)
checkpoints = Table(
    "checkpoints",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("log", BIG, nullable=False),
    Column("size", BIG, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("claims", BIG, nullable=False),
    Column("custody", LargeBinary, nullable=True),
    Column("entry", BIG, nullable=False),
    Column("time_ms", BIG, nullable=False),  # log time
    Column("inside", Boolean, nullable=False),  # its root was compared with the log's own leaves
    Index("checkpoints_by_size", "log", "size"),
    Index("checkpoints_by_custody", "custody"),
)
stretches = Table(
    "stretches",
    metadata,
    Column("log", BIG, nullable=False),
    Column("first", BIG, nullable=False),
    Column("to", BIG, nullable=False),
    Column("edge", LargeBinary, nullable=False),  # at `first`
    Column("items", LargeBinary, nullable=False),
    Column("checkpoint", LargeBinary, nullable=False),
    Column("records", Integer, nullable=False),  # bodies held
    PrimaryKeyConstraint("log", "first"),
)
# Where boot events are: an evidence file shows which firmware made a claim.
boots = Table(
    "boots",
    metadata,
    Column("log", BIG, nullable=False),
    Column("boot", BIG, nullable=False),
    Column("at", BIG, nullable=False),
    PrimaryKeyConstraint("log", "boot", "at"),
)
refused_records = Table(
    "refused_records",
    metadata,
    Column("log", BIG, nullable=False),
    Column("at", BIG, nullable=False),
    Column("reason", TEXT, nullable=False),
    PrimaryKeyConstraint("log", "at"),
)
custody = Table(
    "custody",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("device", LargeBinary, nullable=False),
    Column("epoch", LargeBinary, nullable=False),
    Column("gateway", LargeBinary, nullable=False),
    Column("time_ms", BIG, nullable=False),
    Column("entry", BIG, nullable=False),
    Index("custody_by_time", "device", "time_ms"),
)
# Named by a checkpoint and not got: time evidence not checked.
custody_missing = Table(
    "custody_missing",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("device", LargeBinary, nullable=False),
    Column("reason", TEXT, nullable=False),
)
# Reason of a segment that contradicts nobody: it goes beyond the head at which its key ended.
BEYOND = "revoked"
forks = Table(
    "forks",
    metadata,
    Column("fork", LargeBinary, primary_key=True),  # digest of what contradicts
    Column("device", LargeBinary, nullable=False),
    Column("epoch", LargeBinary, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("ours", LargeBinary, nullable=True),  # signed statement
    Column("theirs", LargeBinary, nullable=False),
    Column("proof", LargeBinary, nullable=True),  # consistency proof within one branch
    Column("segment", LargeBinary, nullable=True),
    Column("time_ms", BIG, nullable=False),
    Index("forks_by_device", "device"),
)

# --- gateways' logs ------------------------------------------------------------------------
gateway_logs = Table(
    "gateway_logs",
    metadata,
    Column("gateway", LargeBinary, primary_key=True),
    Column("size", BIG, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("began", BIG, nullable=False),
    Column("forks", Integer, nullable=False),
)
gateway_heads = Table(
    "gateway_heads",
    metadata,
    Column("gateway", LargeBinary, nullable=False),
    Column("size", BIG, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("head", LargeBinary, nullable=False),
    # The log from the batch's begin to this head: [first, edge, [[level, hash], ...]].
    Column("part", LargeBinary, nullable=True),
    PrimaryKeyConstraint("gateway", "size"),
)
answers = Table(
    "answers",
    metadata,
    Column("batch", LargeBinary, primary_key=True),  # its digest: identity by content
    Column("gateway", LargeBinary, nullable=False),
    Column("number", BIG, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Index("answers_by_gateway", "gateway", "number"),
)
refusals = Table(
    "refusals",
    metadata,
    Column("reason", TEXT, primary_key=True),
    Column("count", BIG, nullable=False),
)

# --- privacy -------------------------------------------------------------------------------
# Bodies that were erased here, and are not taken again: kinds is a mask, bit n for kind n.
erasures = Table(
    "erasures",
    metadata,
    Column("log", BIG, nullable=False),
    Column("first", BIG, nullable=False),
    Column("to", BIG, nullable=False),
    Column("kinds", Integer, nullable=False),
    Column("entry", BIG, nullable=False),  # where it is logged
    PrimaryKeyConstraint("log", "first", "to", "kinds", "entry"),
)
# Where accepted halves of a claim lie: whoever erases the claim erases them.
copies = Table(
    "copies",
    metadata,
    Column("claim", LargeBinary, nullable=False),
    Column("log", BIG, nullable=False),
    Column("at", BIG, nullable=False),
    PrimaryKeyConstraint("claim", "log", "at"),
)
holds = Table(
    "holds",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("fleet", TEXT, nullable=True),
    Column("device", LargeBinary, nullable=True),
    Column("namespace", TEXT, nullable=True),
    Column("interaction", LargeBinary, nullable=True),
    Column("why", TEXT, nullable=False),
    Column("by", TEXT, nullable=False),
    Column("since_ms", BIG, nullable=False),
)
