"""Holds: for an incident an operator stops all pruning (docs/durability.md, section 4)."""

import re
import sqlite3
import time
from typing import Any

from tallystick.evidence.errors import Malformed
from tallystick.gateway import limits

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def begin(connection: sqlite3.Connection, name: str, why: str) -> None:
    """Put a hold in force; Malformed for a name that is none, or that is in force already."""
    if not _NAME.fullmatch(name):
        raise Malformed("bad-value", f"a hold's name: 1 to 64 of A-Z a-z 0-9 . _ - not {name!r}")
    if len(why) > limits.HOLD_WHY_CHARS_MAX or not why.isprintable():
        raise Malformed(
            "bad-value", f"why: one line of at most {limits.HOLD_WHY_CHARS_MAX} characters"
        )
    if connection.execute(
        "SELECT 1 FROM holds WHERE name = ? AND ended_ms IS NULL", (name,)
    ).fetchone():
        raise Malformed("duplicate-key", f"the hold {name} is in force already")
    connection.execute(
        "INSERT OR REPLACE INTO holds VALUES (?, ?, ?, NULL)", (name, why, _now_ms())
    )


def end(connection: sqlite3.Connection, name: str) -> None:
    """End a hold; Malformed where none of this name is in force."""
    ended = connection.execute(
        "UPDATE holds SET ended_ms = ? WHERE name = ? AND ended_ms IS NULL", (_now_ms(), name)
    )
    if not ended.rowcount:
        raise Malformed("bad-value", f"no hold {name} is in force")


def active(connection: sqlite3.Connection) -> bool:
    """Whether any hold is in force."""
    row = connection.execute("SELECT 1 FROM holds WHERE ended_ms IS NULL LIMIT 1").fetchone()
    return row is not None


def known(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """All holds, those in force first: name, why, since_ms, ended_ms or null."""
    rows = connection.execute(
        "SELECT name, why, since_ms, ended_ms FROM holds ORDER BY ended_ms IS NOT NULL, since_ms"
    )
    names = ("name", "why", "since_ms", "ended_ms")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
