"""Gives up bodies that were delivered, by age and when the store fills (docs/durability.md).

What goes is worked out beside the intake, and written in short transactions that look again: a
hold, or a validator that lost its store, counts until the last moment.
"""

import sqlite3
import threading
import time
import zlib
from collections.abc import Callable
from typing import NamedTuple

import structlog

from tallystick.evidence.errors import TallyError
from tallystick.gateway import holds, limits
from tallystick.gateway.capacity import Capacity
from tallystick.gateway.delivered import Delivered
from tallystick.gateway.elide import folds, without
from tallystick.gateway.retention import ALL_KINDS, Retention
from tallystick.gateway.store import Store
from tallystick.gateway.tracks import HASH_SIZE, tree_from

_log = structlog.get_logger("tallystick.gateway.pruning")
_ROWS = (
    "SELECT s.at, s.first, s.until, s.root, s.checkpoint, s.edge, s.time_ms, s.crc, s.data, "
    "t.device, coalesce(p.gone, 0) FROM segments s JOIN tracks t USING (track) "
    "LEFT JOIN pruned p USING (at) WHERE s.at >= :at AND s.at < :to AND s.time_ms < :before_ms "
    "AND coalesce(p.gone, 0) & :mask != :mask "
    "AND s.at NOT IN (SELECT at FROM damaged) ORDER BY s.at LIMIT :rows"
)


def mask_of(kinds: frozenset[int]) -> int:
    """Kinds as the store keeps them."""
    return sum(1 << kind for kind in kinds)


class _Going(NamedTuple):
    # A segment, what it becomes, and what must still be so when that is written.
    at: int
    device: bytes
    checkpoint: bytes
    kinds: frozenset[int]
    gone: int
    crc: int
    data: bytes


class Pruner:
    """One thread's work; `run` returns when `stop` is set."""

    def __init__(
        self,
        store: Store,
        retention: Retention,
        capacity: Callable[[], Capacity],
        stop: threading.Event,
        on_damage: Callable[[int], None] = lambda _at: None,
    ) -> None:
        self.retention = retention
        self._store = store
        self._capacity = capacity
        self._stop = stop
        self._on_damage = on_damage
        self._filling = False
        self._at: int | None = None  # where the pass that is under way goes on; None: there is none
        self._begun: tuple[bool, Retention] | None = None  # what it was begun for
        self._whole_s = 0.0  # when a pass last began with the oldest
        self._looked_to = 0  # below it the passes since then found nothing more
        self.pruned = 0  # segments, since the start

    def run(self) -> None:
        """Prune until stopped."""
        aged_s = time.monotonic() - limits.PRUNE_EVERY_S
        while not self._stop.is_set():
            now_s = time.monotonic()
            if self.filling() or now_s - aged_s >= limits.PRUNE_EVERY_S:
                try:
                    more = self.turn(time.time_ns() // 1_000_000)
                except (sqlite3.Error, OSError, TallyError) as error:
                    _log.error("nothing is pruned", error=str(error))
                    more = False
                if more:
                    self._stop.wait(limits.PRUNE_REST_S)
                    continue
                aged_s = now_s
            self._stop.wait(limits.PRUNE_LOOK_S)

    def filling(self) -> bool:
        """Whether bodies go before their time: from 70 percent on, until 65."""
        percent = self._capacity().percent()
        self._filling = percent >= (
            limits.PRUNE_TO_PERCENT if self._filling else limits.PRUNE_FROM_PERCENT
        )
        return self._filling

    def turn(self, now_ms: int) -> bool:
        """Some segments, from where the turn before ended; False at the end, or if nothing may."""
        filling = self.filling()
        if self._at is None or self._begun != (filling, self.retention):
            self._at = self._first(filling=filling)
        going, more = self._worked_out(now_ms, filling=filling)
        if going and not self._write(going):
            self._looked_to, more = 0, False
        if not more:
            self._at = None
        return more

    def _first(self, *, filling: bool) -> int:
        # Where a pass begins. A store that is filling is looked at every two seconds: where nothing
        # more may go, only at what came since, and now and then at all of it.
        began, self._begun = self._begun, (filling, self.retention)
        now_s = time.monotonic()
        old = now_s - self._whole_s >= limits.PRUNE_EVERY_S
        if not filling or began != self._begun or old:
            self._looked_to, self._whole_s = 0, now_s
        return self._looked_to

    def _may_go(self, *, filling: bool) -> frozenset[int]:
        aged = frozenset(self.retention.ages_ms)
        return (aged | self.retention.by_size) if filling else aged

    def _worked_out(self, now_ms: int, *, filling: bool) -> tuple[list[_Going], bool]:
        kinds = self._may_go(filling=filling)
        if not kinds:
            return [], False
        youngest_ms = 0 if filling else min(self.retention.ages_ms.values())
        connection = self._store.reader()
        try:
            connection.execute("BEGIN")
            delivered = Delivered(connection, self.retention.validators)
            if holds.active(connection):
                self._looked_to = 0
                return [], False
            rows = connection.execute(
                _ROWS,
                {
                    "at": self._at or 0,
                    "to": delivered.to,
                    "before_ms": now_ms - youngest_ms + 1,
                    "mask": mask_of(kinds),
                    "rows": limits.PRUNE_ROWS,
                },
            ).fetchall()
            going = []
            for row in rows:
                self._at = row[0] + 1
                one = self._going(row, delivered, now_ms, filling=filling)
                if one is not None:
                    going.append(one)
        finally:
            connection.close()
        more = len(rows) == limits.PRUNE_ROWS
        if not more:
            self._looked_to = delivered.to
        return going, more

    def _going(
        self,
        row: tuple[int, int, int, bytes, bytes, bytes, int, int, bytes, bytes, int],
        delivered: Delivered,
        now_ms: int,
        *,
        filling: bool,
    ) -> _Going | None:
        at, first, until, root, checkpoint, edge, time_ms, crc, data, device, gone = row
        due = self.retention.due(now_ms - time_ms, filling=filling)
        due &= delivered.kinds(at, device, checkpoint)
        kinds = frozenset(kind for kind in due if not gone >> kind & 1)
        if not kinds:
            return None
        less = _less(data, crc, frozenset(k for k in ALL_KINDS if gone >> k & 1) | kinds)
        if less is None or not folds(less, tree_from(first, edge), until, root):
            # What would stay does not prove what was received: all of it stays.
            self._on_damage(at)
            return None
        return _Going(at, device, checkpoint, kinds, gone | mask_of(kinds), crc, less)

    def _write(self, going: list[_Going]) -> bool:
        with self._store.write_aside() as connection:
            if holds.active(connection):
                return False
            delivered = Delivered(connection, self.retention.validators)
            for one in going:
                if not one.kinds <= delivered.kinds(one.at, one.device, one.checkpoint):
                    continue
                written = connection.execute(
                    "UPDATE segments SET data = ?, crc = ? WHERE at = ? AND crc = ?",
                    (one.data, zlib.crc32(one.data), one.at, one.crc),
                )
                if not written.rowcount:
                    continue  # it was repaired meanwhile
                connection.execute(
                    "INSERT OR REPLACE INTO pruned VALUES (?, ?)", (one.at, one.gone)
                )
                _shorten_receipts(connection, one.at, one.checkpoint)
                self.pruned += 1
        return True


def _shorten_receipts(connection: sqlite3.Connection, at: int, checkpoint: bytes) -> None:
    # Validators' receipts are longer than what is left of a segment. That there was one stays; its
    # bytes are in the validator's own log, and the newest of each device are kept apart.
    (named,) = connection.execute("SELECT named FROM segments WHERE at = ?", (at,)).fetchone()
    digests = [named[begin : begin + HASH_SIZE] for begin in range(0, len(named), HASH_SIZE)]
    connection.executemany(
        "UPDATE receipts SET receipt = x'' WHERE validator = ? AND statement = ?",
        [
            (validator, digest)
            for (validator,) in connection.execute("SELECT name FROM validators").fetchall()
            for digest in (checkpoint, *digests)
        ],
    )


def _less(data: bytes, crc: int, gone: frozenset[int]) -> bytes | None:
    # A checksum can fit by chance, and then the bytes need not be a segment.
    try:
        return without(data, gone) if zlib.crc32(data) == crc else None
    except (TallyError, IndexError):
        return None
