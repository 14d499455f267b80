"""What was delivered to whom, and with which bodies (docs/durability.md, section 3)."""

import bisect
import sqlite3
from collections.abc import Iterable

from tallystick.gateway.peers import Peer
from tallystick.gateway.retention import SENT_KINDS
from tallystick.gateway.store import Store, meta, set_meta


def note(connection: sqlite3.Connection, validator: str, cursor: int, send: str) -> None:
    """From `cursor` on this validator is sent segments in this way."""
    row = connection.execute(
        "SELECT send FROM sent_as WHERE validator = ? ORDER BY from_at DESC LIMIT 1", (validator,)
    ).fetchone()
    if row is None or row[0] != send:
        connection.execute(
            "INSERT OR REPLACE INTO sent_as VALUES (?, ?, ?)", (validator, cursor, send)
        )


def again(connection: sqlite3.Connection, validator: str, size: int, send: str) -> None:
    """All from `size` on is sent once more, as it is sent now."""
    connection.execute(
        "DELETE FROM sent_as WHERE validator = ? AND from_at >= ?", (validator, size)
    )
    note(connection, validator, size, send)


def register(store: Store, peer: Peer) -> int:
    """The cursor of a validator; a name with another key than before is another validator."""
    name, key = peer.config.name, peer.key.thumbprint()
    with store.write_aside() as connection:
        row = connection.execute(
            "SELECT key, cursor FROM validators WHERE name = ?", (name,)
        ).fetchone()
        if row is not None and row[0] == key:
            note(connection, name, int(row[1]), peer.config.send)
            return int(row[1])
        for table in (
            *("told", "receipts", "set_aside", "notarised", "verdicts"),
            *("held", "quota_refusals", "sent_as"),
        ):
            connection.execute(f"DELETE FROM {table} WHERE validator = ?", (name,))  # noqa: S608
        connection.execute("DELETE FROM meta WHERE name = ?", (f"ahead of {name}",))
        connection.execute(
            "INSERT OR REPLACE INTO validators (name, key, cursor, verdicts_after, batches) "
            "VALUES (?, ?, 0, 0, 0)",
            (name, key),
        )
        note(connection, name, 0, peer.config.send)
    return 0


def keep_root(connection: sqlite3.Connection, validator: str, size: int, root: bytes) -> None:
    """The root of the gateway's log at `size` was signed for this validator."""
    set_meta(connection, f"root of {validator}", size.to_bytes(8, "big") + root)


def signed_root(connection: sqlite3.Connection, validator: str) -> tuple[int, bytes] | None:
    """(size, root) that was signed last for this validator."""
    found = meta(connection, f"root of {validator}")
    return None if found is None else (int.from_bytes(found[:8], "big"), found[8:])


class Delivered:
    """What every validator of a set has, as the store says now."""

    def __init__(self, connection: sqlite3.Connection, validators: Iterable[str]) -> None:
        self._connection = connection
        self._ways: dict[str, tuple[list[int], list[str]]] = {}
        cursors = []
        for name in validators:
            row = connection.execute(
                "SELECT cursor FROM validators WHERE name = ?", (name,)
            ).fetchone()
            cursors.append(0 if row is None else int(row[0]))
            ways = connection.execute(
                "SELECT from_at, send FROM sent_as WHERE validator = ? ORDER BY from_at", (name,)
            ).fetchall()
            self._ways[name] = ([from_at for from_at, _ in ways], [send for _, send in ways])
        # Nothing at or behind it is delivered to all of them; with nobody, nothing is at all.
        self.to = min(cursors, default=0)

    def kinds(self, at: int, device: bytes, checkpoint: bytes) -> frozenset[int]:
        """The kinds of bodies that a segment was delivered with; empty unless all have it."""
        found: frozenset[int] = frozenset()
        for name, (begins, sends) in self._ways.items():
            if not self._has(name, at, device, checkpoint):
                return frozenset()
            place = bisect.bisect_right(begins, at)
            if place:
                found |= SENT_KINDS[sends[place - 1]]
        return found if at < self.to else frozenset()

    def _has(self, name: str, at: int, device: bytes, checkpoint: bytes) -> bool:
        row = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM receipts WHERE validator = :name AND "
            "statement = :checkpoint) "
            "AND NOT EXISTS (SELECT 1 FROM set_aside WHERE validator = :name AND at = :at) "
            "AND NOT EXISTS (SELECT 1 FROM held WHERE validator = :name AND device = :device "
            "AND at = :at)",
            {"name": name, "checkpoint": checkpoint, "at": at, "device": device},
        ).fetchone()
        return bool(row[0])
