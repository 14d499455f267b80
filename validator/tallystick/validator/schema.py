"""The tables, in portable SQL. A change here raises VERSION and comes with a step (migrations/).

Times end in `_ms`; `entry` is always an index in this validator's log; `at` an index in a
device's or gateway's log. Numbers that grow are assigned by the one sequencer, never by the
database, so that every database gives the same ones.
"""

from sqlalchemy import (
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    text,
)

from tallystick.validator import portable

VERSION = 5

metadata = MetaData()
BIG, TEXT = portable.BIG, portable.TEXT

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
