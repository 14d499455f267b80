"""The tables, in portable SQL. A change here raises VERSION and comes with a step (migrations/).

Times end in `_ms`; `entry` is always an index in this validator's log; `at` an index in a
device's or gateway's log. Numbers that grow are assigned by the one sequencer, never by the
database, so that every database gives the same ones.
"""

from tallystick.validator import portable
from tallystick.validator.tables_devices import (
    BEYOND,
    answers,
    boots,
    checkpoints,
    copies,
    custody,
    custody_missing,
    erasures,
    forks,
    gateway_heads,
    gateway_logs,
    holds,
    identities,
    keys,
    logs,
    refusals,
    refused_records,
    stretches,
)
from tallystick.validator.tables_findings import (
    bodiless,
    claims,
    grants,
    party_sets,
    releases,
    relying,
    silences,
    unheard,
    verdict_parties,
    verdicts,
)
from tallystick.validator.tables_inbox import inbox
from tallystick.validator.tables_log import (
    cosignatures,
    entries,
    heads,
    meta,
    metadata,
    nodes,
    peer_files,
    quota_use,
    split_views,
    witnessed,
)
from tallystick.validator.tables_work import bases, portions, proposals, workers

__all__ = [
    "BEYOND",
    "BIG",
    "TEXT",
    "VERSION",
    "answers",
    "bases",
    "bodiless",
    "boots",
    "checkpoints",
    "claims",
    "copies",
    "cosignatures",
    "custody",
    "custody_missing",
    "entries",
    "erasures",
    "forks",
    "gateway_heads",
    "gateway_logs",
    "grants",
    "heads",
    "holds",
    "identities",
    "inbox",
    "keys",
    "logs",
    "meta",
    "metadata",
    "nodes",
    "party_sets",
    "peer_files",
    "portions",
    "proposals",
    "quota_use",
    "refusals",
    "refused_records",
    "releases",
    "relying",
    "silences",
    "split_views",
    "stretches",
    "unheard",
    "verdict_parties",
    "verdicts",
    "witnessed",
    "workers",
]

VERSION = 8
BIG, TEXT = portable.BIG, portable.TEXT
