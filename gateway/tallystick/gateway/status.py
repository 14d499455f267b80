"""What a gateway knows and did, read from its store, also while it runs."""

import sqlite3
import time
from pathlib import Path
from typing import Any

import msgspec

from tallystick.evidence import quotarefusal
from tallystick.evidence.keys import b64u, device_text
from tallystick.gateway import devicehold, holds, quarantine
from tallystick.gateway.asking import repaired
from tallystick.gateway.capacity import LEVELS, Gauge
from tallystick.gateway.config import Config
from tallystick.gateway.store import measure, meta, open_reader

REFUSALS_SHOWN_MAX = 200
JOIN_VERSION = 2
QUOTA_VERSION = 3
DURABILITY_VERSION = 5


def status(config: Config) -> dict[str, Any]:
    """Counts, refusals by reason, validators' cursors; CouldNotCheck when there is no store.

    :returns: what JSON can hold; sizes in bytes, times in milliseconds since 1970.
    """
    found = status_of(config.store)
    told = found["process"].get("store")
    if told:
        found["process"]["store"] = _worse(told, config)
    return found


def _worse(told: dict[str, Any], config: Config) -> dict[str, Any]:
    # A gateway whose disk is full cannot write that it is.
    connection = open_reader(config.store)
    try:
        usage = measure(connection, config.store)
    finally:
        connection.close()
    now = Gauge(config.store_bytes_max).read(usage, time.time_ns() // 1_000_000)
    return now.told() if LEVELS.index(now.level) > LEVELS.index(told["level"]) else told


def status_of(path: Path) -> dict[str, Any]:
    """As status, of a store."""
    connection = open_reader(path)
    try:
        # One snapshot: the numbers belong together.
        connection.execute("BEGIN")
        return _status(connection)
    finally:
        connection.close()


def _status(connection: sqlite3.Connection) -> dict[str, Any]:
    gateway = meta(connection, "gateway")
    name = meta(connection, "name")
    process = msgspec.json.decode(meta(connection, "state") or b"{}")
    segments, records, stored_bytes = connection.execute(
        "SELECT count(*), coalesce(sum(records), 0), coalesce(sum(length(data)), 0) FROM segments"
    ).fetchone()
    return {
        "gateway": None if gateway is None else device_text(gateway),
        "name": None if name is None else name.decode(),
        # As the process said last; one that was killed said nothing of its end.
        "process": process,
        "devices": _one(connection, "SELECT count(*) FROM devices"),
        "logs": _one(connection, "SELECT count(*) FROM epochs"),
        "segments": segments,
        "records": records,
        "stored_bytes": stored_bytes,
        "parked_segments": _one(connection, "SELECT count(*) FROM parked"),
        "parked_bytes": _one(connection, "SELECT coalesce(sum(size), 0) FROM parked"),
        "custody_receipts": _one(connection, "SELECT count(*) FROM custody"),
        "forks": _one(connection, "SELECT count(*) FROM forks"),
        "repaired_by_validators": repaired(connection),
        "suspect": _suspect(connection),
        "began_late": _began_late(connection),
        "refused": _refused(connection),
        "refused_by_device": _refused_by_device(connection),
        "validators": [
            {**row, "circuit": process.get("circuits", {}).get(row["name"], {}).get("state")}
            for row in _validators(connection, segments)
        ],
        "join": _join(connection),
        **_durability(connection),
    }


def _one(connection: sqlite3.Connection, sql: str, *values: object) -> int:
    return int(connection.execute(sql, values).fetchone()[0])


def _join(connection: sqlite3.Connection) -> dict[str, int]:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < JOIN_VERSION:  # a store that an older gateway still has open
        return {}
    waiting = "SELECT count(DISTINCT key) FROM join_requests WHERE answer IS NULL"
    answered = "SELECT count(DISTINCT key) FROM join_requests WHERE answer IS NOT NULL"
    invited = "SELECT count(*) FROM invitations WHERE withdrawn = 0 AND until_s >= ?"
    return {
        "waiting": _one(connection, waiting),
        "answered": _one(connection, answered),
        "codes": _one(connection, invited, int(time.time())),
    }


def _durability(connection: sqlite3.Connection) -> dict[str, Any]:
    # Segments that gave bodies up, holds in force, and how much is in quarantine, by state.
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < DURABILITY_VERSION:
        return {"pruned": 0, "holds": [], "device_holds": {}, "quarantine": {}}
    return {
        "pruned": _one(connection, "SELECT count(*) FROM pruned"),
        "holds": [row for row in holds.known(connection) if row["ended_ms"] is None],
        "device_holds": devicehold.told(connection),
        "quarantine": quarantine.counts(connection),
    }


def _suspect(connection: sqlite3.Connection) -> list[dict[str, str]]:
    rows = connection.execute(
        "SELECT device, suspect FROM devices WHERE suspect IS NOT NULL ORDER BY device"
    )
    return [{"device": device_text(device), "reason": reason} for device, reason in rows]


def _began_late(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    # Where knowledge begins: pieces of logs whose beginning is not here.
    rows = connection.execute(
        "SELECT device, epoch, began, length(edge), size FROM tracks WHERE began > 0 "
        "ORDER BY device, epoch, began"
    )
    return [
        {"device": device_text(device), "epoch": epoch.hex(), "from": began, "to": size}
        for device, epoch, began, _, size in rows
    ]


def _refused(connection: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    # SQLite gives the bare column of the row that has the maximum.
    rows = connection.execute(
        "SELECT reason, sum(count), max(last_ms), message FROM refusals GROUP BY reason "
        "ORDER BY reason"
    )
    return {
        reason: {"count": count, "last_ms": last_ms, "message": message}
        for reason, count, last_ms, message in rows
    }


def _refused_by_device(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    rows = connection.execute(
        "SELECT device, reason, count FROM refusals WHERE device != x'' "
        "ORDER BY count DESC, device, reason LIMIT ?",
        (REFUSALS_SHOWN_MAX,),
    )
    return [
        {"device": device_text(device), "reason": reason, "count": count}
        for device, reason, count in rows
    ]


def _validators(connection: sqlite3.Connection, segments: int) -> list[dict[str, Any]]:
    found = []
    rows = connection.execute(
        "SELECT name, cursor, batches, answered_ms, error, error_ms FROM validators ORDER BY name"
    ).fetchall()
    for name, cursor, batches, answered_ms, error, error_ms in rows:
        states = connection.execute(
            "SELECT state, count(*) FROM verdicts WHERE validator = ? AND superseded = 0 "
            "GROUP BY state ORDER BY state",
            (name,),
        )
        found.append(
            {
                "name": name,
                "cursor": cursor,
                "lag": segments - cursor,
                "batches": batches,
                "answered_ms": answered_ms,
                "receipts": _one(
                    connection, "SELECT count(*) FROM receipts WHERE validator = ?", name
                ),
                "set_aside": _one(
                    connection, "SELECT count(*) FROM set_aside WHERE validator = ?", name
                ),
                "verdicts": dict(states.fetchall()),
                "error": error,
                "error_ms": error_ms,
                **_quotas(connection, name),
            }
        )
    return found


def _quotas(connection: sqlite3.Connection, name: str) -> dict[str, Any]:
    """What a validator refused as too much, and how many segments wait for that."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < QUOTA_VERSION:
        return {"held": 0, "quotas": []}
    rows = connection.execute(
        "SELECT data, since_ms, until_ms, count FROM quota_refusals WHERE validator = ? "
        "ORDER BY until_ms DESC LIMIT ?",
        (name, REFUSALS_SHOWN_MAX),
    )
    found = []
    for data, since_ms, until_ms, count in rows.fetchall():
        said = quotarefusal.parse(data)
        found.append(
            {
                "holder": said.holder,
                "key": device_text(said.key_id),
                "quota": said.quota,
                "limit": said.limit,
                "used": said.used,
                "since_ms": since_ms,
                "until_ms": until_ms,
                "count": count,
                "refusal": b64u(data),
            }
        )
    held = _one(connection, "SELECT count(*) FROM held WHERE validator = ?", name)
    return {"held": held, "quotas": found}
