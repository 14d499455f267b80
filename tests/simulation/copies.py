"""What stores hold at the end, read from their files by plain SQL and the parsers of the wire."""

import hashlib
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulation.truth import Log
from simulation.world import Wrong
from tallystick.evidence import accepted, claim, half, record, segment, verdict
from tallystick.evidence.entry import LoggedClaim, parse_entry

DECISION, CLAIM, EVENT, ACCEPTED_HALF = range(4)
LOGGED_CLAIM = 18


@dataclass
class Held:
    """What one store holds of devices' logs."""

    name: str
    records: dict[Log, dict[int, bytes]] = field(default_factory=dict)
    # Indexes that are covered, with a body or without.
    covered: dict[Log, set[int]] = field(default_factory=dict)
    began: dict[Log, int] = field(default_factory=dict)
    size: dict[Log, int] = field(default_factory=dict)


@dataclass
class Notary(Held):
    """A validator's store."""

    entries: list[tuple[bytes | None, bytes]] = field(default_factory=list)
    heads: list[tuple[int, bytes]] = field(default_factory=list)
    decisions: dict[bytes, int] = field(default_factory=dict)
    # Claims as they are logged: device, epoch, index.
    claims: list[tuple[bytes, bytes, int]] = field(default_factory=list)
    # By interaction: the state, and the newest verdict's finding.
    states: dict[bytes, tuple[str, Any]] = field(default_factory=dict)


def read_notary(name: str, path: Path) -> Notary:
    """A validator's store, which no process has open."""
    found = Notary(name)
    connection = sqlite3.connect(path)
    try:
        _read_log(connection, found)
        _read_devices(connection, found)
        _read_blame(connection, name)
        for row in connection.execute("SELECT interaction, state, verdict_entry FROM party_sets"):
            interaction, state, entry = row
            if interaction in found.states:
                raise Wrong(f"{name}: an interaction with two party sets")
            signed = None if entry is None else verdict.parse(found.entries[entry][1]).finding
            found.states[interaction] = state, signed
    finally:
        connection.close()
    return found


def _read_log(connection: sqlite3.Connection, found: Notary) -> None:
    rows = connection.execute("SELECT entry, kind, digest, leaf, data FROM entries ORDER BY entry")
    for at, (entry, kind, digest, leaf, data) in enumerate(rows):
        if entry != at:
            raise Wrong(f"{found.name}: its log has no entry {at}")
        if hashlib.sha256(b"\x00" + data).digest() != leaf:
            raise Wrong(f"{found.name}: entry {at} is not its leaf")
        found.entries.append((digest, data))
        if kind == LOGGED_CLAIM:
            made = parse_entry(data)
            assert isinstance(made, LoggedClaim)
            found.claims.append((made.device, made.epoch, made.index))
    found.heads = connection.execute("SELECT size, root FROM heads ORDER BY size").fetchall()


def _read_devices(connection: sqlite3.Connection, found: Notary) -> None:
    for id_, decisions in connection.execute("SELECT id, decisions FROM identities"):
        found.decisions[id_] = decisions
    logs = connection.execute(
        "SELECT log, device, epoch, began, size, covered FROM logs"
    ).fetchall()
    for number, device, epoch, began, size, covered in logs:
        log = device, epoch
        found.began[log], found.size[log] = began, size
        rows = connection.execute(
            'SELECT first, "to", items FROM stretches WHERE log = ? ORDER BY first', (number,)
        )
        _read_stretches(found, log, [(first, to, data) for first, to, data in rows])
        if covered != len(found.covered[log]):
            raise Wrong(
                f"{found.name}: it says that {covered} indexes are covered, and holds others"
            )


def _read_stretches(held: Held, log: Log, rows: list[tuple[int, int, bytes]]) -> None:
    """Stretches, or a gateway's segments, in the order of their indexes."""
    records = held.records.setdefault(log, {})
    covered = held.covered.setdefault(log, set())
    for first, to, data in rows:
        at = first
        for stretch in segment.parse(data).stretches:
            for item in stretch.items:
                count = 1 if isinstance(item, bytes) else 1 << item[0]
                new = set(range(at, at + count))
                if new & covered:
                    raise Wrong(f"{held.name} holds index {at} of {log[1].hex()} twice")
                covered |= new
                if isinstance(item, bytes):
                    records[at] = item
                at += count
        if at != to:
            raise Wrong(f"{held.name}: a stretch to {to} ends at {at}")


def _read_blame(connection: sqlite3.Connection, name: str) -> None:
    for query, what in (
        ("SELECT suspect FROM identities WHERE suspect IS NOT NULL", "somebody honest is suspect"),
        ("SELECT reason FROM forks", "it recorded a fork"),
        (
            "SELECT gateway FROM gateway_logs WHERE forks != 0",
            "a gateway is said to tell two stories",
        ),
        ("SELECT reason FROM refused_records", "it refused a record"),
        ("SELECT id FROM identities WHERE refused != 0", "it refused records"),
    ):
        row = connection.execute(query).fetchone()
        if row is not None:
            raise Wrong(f"{name}: {what}: {row[0]!r}")


def read_gateway(name: str, path: Path) -> Held:
    """A gateway's store: it opens, is whole, and blames nobody."""
    found = Held(name)
    connection = sqlite3.connect(path)
    try:
        (said,) = connection.execute("PRAGMA quick_check").fetchone()
        if said != "ok":
            raise Wrong(f"{name}: its store is damaged: {said}")
        for query in (
            "SELECT suspect FROM devices WHERE suspect IS NOT NULL",
            "SELECT epoch FROM forks",
            "SELECT reason FROM set_aside",
            "SELECT at FROM damaged",
            "SELECT message FROM poison",
        ):
            row = connection.execute(query).fetchone()
            if row is not None:
                raise Wrong(f"{name}: somebody honest is blamed: {row[0]!r}")
        rows = connection.execute("SELECT at FROM segments ORDER BY at").fetchall()
        if [at for (at,) in rows] != list(range(len(rows))):
            raise Wrong(f"{name}: places of its log are missing or taken twice")
        tracks = connection.execute("SELECT track, device, epoch FROM tracks").fetchall()
        for track, device, epoch in tracks:
            rows = connection.execute(
                "SELECT first, until, data FROM segments WHERE track = ? AND first != until "
                "ORDER BY first",
                (track,),
            ).fetchall()
            _read_stretches(found, (device, epoch), rows)
    finally:
        connection.close()
    return found


# --- records -------------------------------------------------------------------------------


def numbers_of(records: dict[int, bytes]) -> list[int]:
    """The numbers of a log's decisions, in its order."""
    return [
        record.parse(data).inputs["n"]  # type: ignore[union-attr]  # a decision
        for _, data in sorted(records.items())
        if record.kind_of(data) == DECISION
    ]


def claims_of(records: dict[Log, dict[int, bytes]]) -> dict[bytes, dict[str, Any]]:
    """Claims by interaction and role, those too that a counterpart accepted."""
    found: dict[bytes, dict[str, Any]] = {}
    for items in records.values():
        for data in items.values():
            kind = record.kind_of(data)
            if kind in {CLAIM, ACCEPTED_HALF}:
                own = kind == CLAIM
                made = claim.parse(data if own else half.parse(accepted.parse(data).half).record)
                found.setdefault(made.interaction_id(), {})[made.role] = made
    return found
