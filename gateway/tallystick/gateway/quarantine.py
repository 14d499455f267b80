"""What is set aside, damaged or poison: shown, exported, tried again (docs/durability.md, 5).

An entry's id says what it is: `validator:NAME:PLACE`, `damaged:PLACE`, `poison:NUMBER`, places
being those of the gateway's own log.
"""

import re
import sqlite3
from typing import Any

from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import device_text
from tallystick.gateway import limits

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
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
    return [*_damaged(connection), *_set_aside(connection), *_poison(connection)]


# Each of these: all of its state, or what is at one place, of one validator, of one number.


def _damaged(connection: sqlite3.Connection, place: int | None = None) -> list[dict[str, Any]]:
    found = []
    for at, found_ms, asked, ask_ms in connection.execute(
        "SELECT at, found_ms, asked, ask_ms FROM damaged WHERE :at IS NULL OR at = :at "
        "ORDER BY at LIMIT :most",
        {"at": place, "most": limits.QUARANTINE_SHOWN_MAX},
    ).fetchall():
        reason = "the stored bytes are not those that were taken"
        row = _row(f"damaged:{at}", "damaged", reason, found_ms, asked, ask_ms)
        found.append({**row, **_segment(connection, at)})
    return found


def _set_aside(
    connection: sqlite3.Connection, validator: str | None = None, place: int | None = None
) -> list[dict[str, Any]]:
    found = []
    for name, at, reason, time_ms, tries, retry_ms, damaged in connection.execute(
        "SELECT a.validator, a.at, a.reason, a.time_ms, a.tries, a.retry_ms, d.at IS NOT NULL "
        "FROM set_aside a LEFT JOIN damaged d USING (at) "
        "WHERE :at IS NULL OR (a.validator = :name AND a.at = :at) "
        "ORDER BY a.validator, a.at LIMIT :most",
        {"name": validator, "at": place, "most": limits.QUARANTINE_SHOWN_MAX},
    ).fetchall():
        next_ms = None if damaged else retry_ms
        row = _row(f"validator:{name}:{at}", "set-aside", reason, time_ms, tries, next_ms)
        found.append({**row, "validator": name, **_segment(connection, at)})
    return found


def _poison(connection: sqlite3.Connection, which: int | None = None) -> list[dict[str, Any]]:
    found = []
    for number, device, size, what, count, first_ms, retry in connection.execute(
        "SELECT number, device, length(data), message, count, first_ms, retry FROM poison "
        "WHERE :number IS NULL OR number = :number ORDER BY number LIMIT :most",
        {"number": which, "most": limits.QUARANTINE_SHOWN_MAX},
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
    # Looked for by itself: a list shows only the oldest of many.
    kind, _, rest = name.partition(":")
    validator, _, number = rest.rpartition(":")
    found: list[dict[str, Any]] = []
    if _NUMBER.fullmatch(number):
        if kind == "damaged":
            found = _damaged(connection, int(number))
        elif kind == "validator":
            found = _set_aside(connection, validator, int(number))
        elif kind == "poison":
            found = _poison(connection, int(number))
    if not found or found[0]["id"] != name:
        raise Malformed("bad-value", f"nothing in quarantine is {name}; `list` shows what is")
    return found[0]


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
