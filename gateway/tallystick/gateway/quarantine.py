"""What is set aside, damaged or poison: shown, exported, tried again (docs/durability.md, 5).

An entry's id says what it is: `validator:NAME:PLACE`, `damaged:PLACE`, `poison:NUMBER`, places
being those of the gateway's own log.
"""

import sqlite3
from typing import Any

from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import device_text
from tallystick.gateway import limits

_SEGMENT = (
    "SELECT t.device, t.epoch, s.first, s.until, s.time_ms, length(s.data) FROM segments s "
    "JOIN tracks t USING (track) WHERE s.at = ?"
)


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    """How much there is of each state."""
    return {
        "set_aside": _count(connection, "set_aside"),
        "damaged": _count(connection, "damaged"),
        "poison": _count(connection, "poison"),
    }


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608


def entries(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """What is in quarantine, QUARANTINE_SHOWN_MAX of each state at most, oldest first.

    :returns: id, state, reason, device, since_ms, tries, next_ms (null: when its bytes are here),
        and what else is known of it.
    """
    most = limits.QUARANTINE_SHOWN_MAX
    found: list[dict[str, Any]] = []
    for at, found_ms, asked, ask_ms in connection.execute(
        "SELECT at, found_ms, asked, ask_ms FROM damaged ORDER BY at LIMIT ?", (most,)
    ).fetchall():
        reason = "the stored bytes are not those that were taken"
        row = _row(f"damaged:{at}", "damaged", reason, found_ms, asked, ask_ms)
        found.append({**row, **_segment(connection, at)})
    for name, at, reason, time_ms, tries, retry_ms, damaged in connection.execute(
        "SELECT a.validator, a.at, a.reason, a.time_ms, a.tries, a.retry_ms, d.at IS NOT NULL "
        "FROM set_aside a LEFT JOIN damaged d USING (at) ORDER BY a.validator, a.at LIMIT ?",
        (most,),
    ).fetchall():
        next_ms = None if damaged else retry_ms
        row = _row(f"validator:{name}:{at}", "set-aside", reason, time_ms, tries, next_ms)
        found.append({**row, "validator": name, **_segment(connection, at)})
    for number, device, size, what, count, first_ms, retry in connection.execute(
        "SELECT number, device, length(data), message, count, first_ms, retry FROM poison "
        "ORDER BY number LIMIT ?",
        (most,),
    ).fetchall():
        row = _row(f"poison:{number}", "poison", what, first_ms, count, 0 if retry else None)
        found.append({**row, "device": device_text(device), "bytes": size})
    return found


def _row(
    name: str, state: str, reason: str, since_ms: int, tries: int, next_ms: int | None
) -> dict[str, Any]:
    return {
        "id": name,
        "state": state,
        "reason": reason,
        "since_ms": since_ms,
        "tries": tries,
        "next_ms": next_ms,
    }


def _segment(connection: sqlite3.Connection, at: int) -> dict[str, Any]:
    row = connection.execute(_SEGMENT, (at,)).fetchone()
    if row is None:
        return {"place": at}
    device, epoch, first, until, time_ms, size = row
    return {
        "device": device_text(device),
        "epoch": epoch.hex(),
        "from": first,
        "to": until,
        "place": at,
        "taken_ms": time_ms,
        "bytes": size,
    }


def entry(connection: sqlite3.Connection, name: str) -> dict[str, Any]:
    """One entry; Malformed when there is none of this id."""
    found = next((row for row in entries(connection) if row["id"] == name), None)
    if found is None:
        raise Malformed("bad-value", f"nothing in quarantine is {name}; `list` shows what is")
    return found


def data(connection: sqlite3.Connection, name: str) -> bytes:
    """The bytes of an entry, as they are stored."""
    row = entry(connection, name)
    if row["state"] == "poison":
        number = int(name.partition(":")[2])
        sql, key = "SELECT data FROM poison WHERE number = ?", number
    else:
        sql, key = "SELECT data FROM segments WHERE at = ?", row["place"]
    return bytes(connection.execute(sql, (key,)).fetchone()[0])


def retry(connection: sqlite3.Connection, name: str | None) -> int:
    """Ask for a try at once, of one entry or of all; how many."""
    if name is None:
        done = connection.execute("UPDATE set_aside SET retry_ms = 0").rowcount
        done += connection.execute("UPDATE damaged SET ask_ms = 0").rowcount
        return done + connection.execute("UPDATE poison SET retry = 1").rowcount
    row = entry(connection, name)
    if row["state"] == "poison":
        number = int(name.partition(":")[2])
        return connection.execute(
            "UPDATE poison SET retry = 1 WHERE number = ?", (number,)
        ).rowcount
    if row["state"] == "damaged":
        return connection.execute(
            "UPDATE damaged SET ask_ms = 0 WHERE at = ?", (row["place"],)
        ).rowcount
    return connection.execute(
        "UPDATE set_aside SET retry_ms = 0 WHERE validator = ? AND at = ?",
        (row["validator"], row["place"]),
    ).rowcount
