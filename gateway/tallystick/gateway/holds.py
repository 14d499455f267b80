"""Holds: for an incident an operator stops pruning, here and on devices (docs/durability.md, 4).

Which devices: none of them (the gateway alone), all, or some.
"""

import re
import sqlite3
import time
from typing import Any

from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import device_from_text
from tallystick.gateway import limits

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Whoever types one of these means what `tally validator hold` calls so.
_WORDS = ("add", "begin", "end", "lift", "list")
ALL = "*"


def begin(connection: sqlite3.Connection, name: str, why: str, devices: str = "") -> None:
    """Put a hold in force; Malformed for a name that is none, or that is in force already.

    devices: ALL, "" for none, or ids as text with blanks between.
    """
    if name in _WORDS:
        raise Malformed(
            "bad-value", f"{name!r} is no name of a hold: tally hold NAME, --end NAME, or --list"
        )
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
        "INSERT OR REPLACE INTO holds VALUES (?, ?, ?, NULL, ?)", (name, why, _now_ms(), devices)
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
    """All holds, those in force first: name, why, since_ms, ended_ms or null, devices.

    devices: "all", or a list of ids; empty for a hold of the gateway alone.
    """
    rows = connection.execute(
        "SELECT name, why, since_ms, ended_ms, devices FROM holds "
        "ORDER BY ended_ms IS NOT NULL, since_ms"
    )
    names = ("name", "why", "since_ms", "ended_ms", "devices")
    return [
        dict(zip(names, (*row, "all" if text == ALL else text.split()), strict=True))
        for *row, text in rows
    ]


def devices(connection: sqlite3.Connection) -> tuple[bool, list[bytes]]:
    """Whether all devices are to be held, and which ones."""
    rows = connection.execute("SELECT devices FROM holds WHERE ended_ms IS NULL").fetchall()
    some = {id_ for (text,) in rows if text != ALL for id_ in text.split()}
    return (ALL,) in rows, sorted(device_from_text(id_) for id_ in some)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
