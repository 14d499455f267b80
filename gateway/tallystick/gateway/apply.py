"""Carries the core's decisions out, inside one transaction of the store."""

import sqlite3
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tallystick.gateway import decisions as d
from tallystick.gateway.gatewaylog import GatewayLog
from tallystick.gateway.tracks import Track
from tallystick.gateway.urgency import Urgent
from tallystick.gateway.view import track_values

MESSAGE_CHARS_MAX = 200


@dataclass(slots=True)
class Refusal:
    """How often something was refused since the last flush, and what was said last."""

    count: int = 0
    last_ms: int = 0
    message: str = ""


@dataclass
class After:
    """What a group asks for once it is durable."""

    sends: list[tuple[bytes, bytes]] = field(default_factory=list)  # (device, message)
    answers: dict[int, Track] = field(default_factory=dict)
    refused: list[d.Refused] = field(default_factory=list)
    written: bool = False  # there is something to COMMIT


def add_refusals(
    connection: sqlite3.Connection, rows: Iterable[tuple[str, bytes, int, int, str]]
) -> None:
    """Add (reason, device or b"", count, last_ms, message) to what `status` shows."""
    connection.executemany(
        "INSERT INTO refusals VALUES (?, ?, ?, ?, ?) ON CONFLICT (reason, device) DO UPDATE "
        "SET count = count + excluded.count, last_ms = excluded.last_ms, "
        "message = excluded.message",
        rows,
    )


class Applier:
    """Writes decisions; refusals are counted in memory and written by `write_refusals`."""

    def __init__(self, log: GatewayLog, urgent: Urgent | None = None) -> None:
        self.log = log
        self._urgent = Urgent() if urgent is None else urgent
        self.refusals: dict[tuple[str, bytes], Refusal] = {}
        # Rows wait here until the end of the group: many rows of one statement cost less.
        self._segments: list[tuple[Any, ...]] = []
        self._table: dict[type, Callable[..., None]] = {
            d.Learned: self._learned,
            d.EpochOpened: self._epoch_opened,
            d.EpochBegan: self._epoch_began,
            d.Appended: self._appended,
            d.Merged: self._merged,
            d.Parked: self._parked,
            d.Unparked: self._unparked,
            d.Repaired: self._repaired,
            d.Forked: self._forked,
            d.Suspected: self._suspected,
        }

    def apply(
        self,
        connection: sqlite3.Connection,
        made: Iterable[d.Decision],
        after: After,
        now_ms: int,
    ) -> None:
        """Write one message's decisions; what must wait for the COMMIT goes to `after`."""
        for decision in made:
            if isinstance(decision, d.Refused):
                after.refused.append(decision)
            elif isinstance(decision, d.Send):
                after.sends.append((decision.device, decision.data))
            elif isinstance(decision, d.Answer):
                after.answers[decision.track.track] = decision.track
            else:
                after.written = True
                self._table[type(decision)](connection, decision, now_ms)

    def count(self, refused: d.Refused, now_ms: int) -> None:
        """Count a refusal."""
        counted = self.refusals.setdefault((refused.reason, refused.device or b""), Refusal())
        counted.count += 1
        counted.last_ms = now_ms
        counted.message = refused.message[:MESSAGE_CHARS_MAX]

    def write_pending(self, connection: sqlite3.Connection) -> None:
        """Write the rows that wait, so that the view sees them."""
        if self._segments:
            connection.executemany(
                "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                self._segments,
            )
            self._segments = []

    def finish(self, connection: sqlite3.Connection, dirty: Iterable[tuple[Track, bool]]) -> None:
        """End a group: rows that wait, nodes of the log, changed tracks (and whether current)."""
        self.write_pending(connection)
        self.log.flush(connection)
        for track, current in dirty:
            connection.execute(
                "INSERT OR REPLACE INTO tracks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                track_values(track),
            )
            if current:
                connection.execute(
                    "UPDATE devices SET newest = ? WHERE device = ?", (track.head, track.device)
                )

    def write_refusals(self, connection: sqlite3.Connection) -> None:
        """Write the counts; `refusals` is cleared by the caller once they are durable."""
        add_refusals(
            connection,
            (
                (reason, device, counted.count, counted.last_ms, counted.message)
                for (reason, device), counted in self.refusals.items()
            ),
        )

    def reset(self, connection: sqlite3.Connection) -> None:
        """A transaction was rolled back: begin again from what is stored."""
        self._segments = []
        self.log = GatewayLog(connection)

    # --- one decision each ------------------------------------------------------------------

    def _learned(self, connection: sqlite3.Connection, it: d.Learned, now_ms: int) -> None:
        connection.execute(
            "INSERT INTO devices (device, iss, credential, digest, since_ms) "
            "VALUES (?, ?, ?, ?, ?) ON CONFLICT (device) DO UPDATE SET iss = excluded.iss, "
            "credential = excluded.credential, digest = excluded.digest",
            (it.device, it.iss, it.credential, it.digest, now_ms),
        )
        connection.executemany(
            "INSERT OR IGNORE INTO keys VALUES (?, ?)",
            [(thumbprint, it.device) for thumbprint in it.thumbprints],
        )

    def _epoch_opened(self, connection: sqlite3.Connection, it: d.EpochOpened, now_ms: int) -> None:
        connection.execute(
            "INSERT OR IGNORE INTO epochs (device, epoch, since_ms) VALUES (?, ?, ?)",
            (it.device, it.epoch, now_ms),
        )

    def _epoch_began(self, connection: sqlite3.Connection, it: d.EpochBegan, _now_ms: int) -> None:
        if it.previous is not None:
            connection.execute(
                "UPDATE epochs SET previous_epoch = ?, previous_size = ? "
                "WHERE device = ? AND epoch = ?",
                (*it.previous, it.device, it.epoch),
            )
        connection.executemany(
            "UPDATE epochs SET frozen_at = ? WHERE device = ? AND epoch = ?",
            [(size, it.device, epoch) for epoch, size in it.frozen],
        )
        # Who lost its journal knows of no hold, and of no end of one: it is told anew.
        connection.execute(
            "UPDATE device_holds SET known_ms = NULL, sent_ms = 0, since_at = ? "
            "WHERE device = ? AND known_ms IS NOT NULL",
            (self.log.tree.size, it.device),
        )

    def _appended(self, _connection: sqlite3.Connection, it: d.Appended, now_ms: int) -> None:
        at = self.log.append(it.leaf)
        if it.urgent:
            self._urgent.add(at)
        self._segments.append(
            (
                at,
                it.track,
                it.first,
                it.to,
                it.root,
                it.checkpoint,
                it.edge,
                it.named,
                it.tail,
                it.crc,
                it.records,
                now_ms,
                it.data,
            )
        )

    def _merged(self, connection: sqlite3.Connection, it: d.Merged, _now_ms: int) -> None:
        self.write_pending(connection)
        into, gone = it.into.track, it.gone.track
        connection.execute("UPDATE segments SET track = ? WHERE track = ?", (into, gone))
        connection.execute("UPDATE OR IGNORE forks SET ours = ? WHERE ours = ?", (into, gone))
        connection.execute("UPDATE OR IGNORE forks SET theirs = ? WHERE theirs = ?", (into, gone))
        connection.execute("DELETE FROM tracks WHERE track = ?", (gone,))

    def _parked(self, connection: sqlite3.Connection, it: d.Parked, now_ms: int) -> None:
        connection.execute(
            "INSERT INTO parked VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                it.parked,
                it.device,
                it.epoch,
                it.first,
                len(it.data),
                it.checkpoint,
                it.data,
                now_ms,
            ),
        )

    def _unparked(self, connection: sqlite3.Connection, it: d.Unparked, _now_ms: int) -> None:
        connection.execute("DELETE FROM parked WHERE parked = ?", (it.parked,))

    def _repaired(self, connection: sqlite3.Connection, it: d.Repaired, _now_ms: int) -> None:
        connection.execute(
            "UPDATE segments SET data = ?, crc = ?, edge = ?, tail = ? WHERE at = ?",
            (it.data, zlib.crc32(it.data), it.edge, it.tail, it.at),
        )
        connection.execute("DELETE FROM damaged WHERE at = ?", (it.at,))
        connection.execute("DELETE FROM pruned WHERE at = ?", (it.at,))
        # What validators could not follow for want of it is tried again too.
        connection.execute(
            "UPDATE set_aside SET retry_ms = 0 WHERE at IN "
            "(SELECT at FROM segments WHERE track = ?)",
            (it.track,),
        )

    def _forked(self, connection: sqlite3.Connection, it: d.Forked, now_ms: int) -> None:
        connection.execute(
            "INSERT OR IGNORE INTO forks VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                it.device,
                it.epoch,
                it.ours,
                it.theirs,
                it.size,
                it.our_head,
                it.their_head,
                now_ms,
            ),
        )

    def _suspected(self, connection: sqlite3.Connection, it: d.Suspected, _now_ms: int) -> None:
        connection.execute(
            "UPDATE devices SET suspect = coalesce(suspect, ?) WHERE device = ?",
            (it.reason, it.device),
        )
