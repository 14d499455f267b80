"""Bits that flipped on disk: found by content, mended from what is here, or asked for again.

A stored segment is there more than once: its bytes, the columns taken from them, a checksum, and a
leaf of the gateway's own log, whose nodes repeat one another. Whatever two of them agree on mends
the third. Bytes that are wrong themselves come again from the device, or by an import.
"""

import sqlite3
import threading
import time
import zlib
from collections.abc import Callable

import structlog

from tallystick.evidence import segment as segments
from tallystick.evidence.errors import TallyError
from tallystick.evidence.gatewaylog import GatewayLeaf, leaf_of
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.resend import Resend
from tallystick.evidence.segment import verify_segment
from tallystick.evidence.tree import node_hash
from tallystick.gateway import limits
from tallystick.gateway.aside import waits_ms
from tallystick.gateway.asking import Lost
from tallystick.gateway.gatewaylog import read_node
from tallystick.gateway.identities import Identities
from tallystick.gateway.store import Store
from tallystick.gateway.storedsegment import SELECT, StoredSegment
from tallystick.gateway.tracks import tree_from
from tallystick.gateway.view import StoreView

_log = structlog.get_logger("tallystick.gateway.damage")


def look(connection: sqlite3.Connection, at: int, roots: dict[str, PublicKey]) -> bool:
    """Mend one segment from what is here, or note that it is damaged; whether it is good now.

    Inside a transaction that may write. Nothing is mended from bytes whose signatures do not
    verify: the leaf does not cover them.
    """
    row = connection.execute(f"{SELECT} WHERE s.at = ?", (at,)).fetchone()
    stored = StoredSegment(*row)
    node = read_node(connection, 0, at)
    if stored.intact(node):
        return True
    known = _from_bytes(connection, stored, roots)
    track = None if known is None else _track(connection, stored, known)
    if known is not None and track is not None and known.leaf_hash() == node:
        # The bytes agree with the log: the columns are wrong, or the checksum.
        tail = len(segments.parse(stored.data).stretches[-1].checkpoint)
        connection.execute(
            "UPDATE segments SET track = ?, first = ?, until = ?, root = ?, checkpoint = ?, "
            "tail = ?, crc = ? WHERE at = ?",
            (
                track,
                known.from_,
                known.to,
                known.root,
                known.checkpoint,
                tail,
                zlib.crc32(stored.data),
                at,
            ),
        )
        _log.warning("a stored segment was mended", at=at)
        return True
    if known is not None and known.leaf_hash() == stored.leaf():
        # Bytes and columns agree: it is the log's leaf that is wrong.
        connection.execute(
            "UPDATE nodes SET hash = ? WHERE level = 0 AND at = ?", (known.leaf_hash(), at)
        )
        _log.warning("a leaf of the gateway's log was mended", at=at)
        return True
    connection.execute(
        "INSERT OR IGNORE INTO damaged (at, found_ms) VALUES (?, ?)", (at, _now_ms())
    )
    _log.error("a stored segment is damaged", at=at)
    return False


def _from_bytes(
    connection: sqlite3.Connection, stored: StoredSegment, roots: dict[str, PublicKey]
) -> GatewayLeaf | None:
    # What the bytes alone say, if they verify.
    try:
        segment = segments.parse(stored.data)
        identity = Identities(StoreView(connection), roots).find(segment.device)
        if identity is None:
            return None
        verify_segment(segment, identity, tree_from(segment.first, stored.edge))
        return leaf_of(segment)
    except (TallyError, IndexError):
        return None


def _track(connection: sqlite3.Connection, stored: StoredSegment, known: GatewayLeaf) -> int | None:
    # The one that it names, where that is of its log; else the only one that covers it.
    if (stored.device, stored.epoch) == (known.device, known.epoch):
        return stored.track
    found = connection.execute(
        "SELECT track FROM tracks WHERE device = ? AND epoch = ? AND began <= ? AND size >= ?",
        (known.device, known.epoch, known.from_, known.to),
    ).fetchall()
    return int(found[0][0]) if len(found) == 1 else None


def mend_nodes(connection: sqlite3.Connection, first: int, to: int) -> int:
    """Compare the inner nodes that end in [first, to) with those below them; how many were wrong.

    The leaves must have been looked at.
    """
    wrong = 0
    level = 1
    while to >> level:
        for at in range(first >> level, to >> level):
            left, right = (read_node(connection, level - 1, 2 * at + side) for side in (0, 1))
            made = node_hash(left, right)
            if read_node(connection, level, at) != made:
                connection.execute(
                    "UPDATE nodes SET hash = ? WHERE level = ? AND at = ?", (made, level, at)
                )
                wrong += 1
        level += 1
    return wrong


class Scrubber:
    """One thread's work: looks at everything each day, and asks for what is damaged."""

    def __init__(
        self,
        store: Store,
        send: Callable[[list[tuple[bytes, bytes]]], None],
        stop: threading.Event,
        roots: dict[str, PublicKey],
    ) -> None:
        self._store = store
        self._roots = roots
        self._send = send
        self._stop = stop
        self._at = 0
        self._passed_s: float | None = None  # when a pass ended; None: one is under way
        self._suspects: set[int] = set()
        self._lock = threading.Lock()
        # Has validators asked, by another thread, once a device did not send it (asking.py).
        self.ask_validators: Callable[[Lost], None] = lambda _lost: None
        # What else this thread does (devicehold.py); whether there is more of it.
        self.also: Callable[[int], bool] = lambda _now_ms: False
        self.at_end: Callable[[], None] = lambda: None

    def suspect(self, at: int) -> None:
        """Look at this one soon, somebody found it wrong; -1: at everything, the log is."""
        with self._lock:
            if at >= 0:
                self._suspects.add(at)
            else:
                self._at, self._passed_s = 0, None

    def run(self) -> None:
        """Work until stopped."""
        while not self._stop.is_set():
            began_s = time.monotonic()
            # Neither duty waits for the other's trouble.
            more = _tried(lambda: self.also(_now_ms()), "devices are not told of holds")
            more = _tried(self._look, "the store cannot be looked at") or more
            # A pass takes a fifth of the time at most: nothing waits for it.
            rest_s = max(limits.PRUNE_REST_S, 4 * (time.monotonic() - began_s))
            self._stop.wait(rest_s if more else limits.PRUNE_LOOK_S)
        self.at_end()

    def _look(self) -> bool:
        more = self.turn()
        self.ask(_now_ms())
        return more

    def turn(self) -> bool:
        """Look at what is suspected, then at some more; False when a pass is at its end."""
        with self._lock:
            suspects, self._suspects = self._suspects, set()
        if suspects:
            with self._store.write_aside() as connection:
                for at in suspects:
                    look(connection, at, self._roots)
        if self._passed_s is not None:
            if time.monotonic() - self._passed_s < limits.SCRUB_EVERY_S:
                return False
            self.suspect(-1)
        return self._pass()

    def _pass(self) -> bool:
        first = self._at
        reader = self._store.reader()
        try:
            reader.execute("BEGIN")
            rows = reader.execute(
                f"{SELECT} WHERE s.at >= ? ORDER BY s.at LIMIT ?", (first, limits.PRUNE_ROWS)
            ).fetchall()
            wrong = [
                row[0]
                for row in rows
                if not StoredSegment(*row).intact(read_node(reader, 0, row[0]))
            ]
        finally:
            reader.close()
        to = rows[-1][0] + 1 if rows else first
        if wrong or _inner_wrong(self._store, first, to):
            with self._store.write_aside() as connection:
                for at in wrong:
                    look(connection, at, self._roots)
                count = mend_nodes(connection, first, to)
            if count:
                _log.warning("nodes of the gateway's log were mended", count=count)
        with self._lock:
            if self._at == first:
                self._at = to
                if len(rows) < limits.PRUNE_ROWS:
                    self._passed_s = time.monotonic()
        return self._passed_s is None

    def ask(self, now_ms: int) -> None:
        """Ask devices for what is damaged, with growing waits; the second time validators too."""
        reader = self._store.reader()
        try:
            due = reader.execute(
                "SELECT d.asked, d.at, t.device, t.epoch, s.first, s.until, s.checkpoint "
                "FROM damaged d "
                "JOIN segments s USING (at) JOIN tracks t USING (track) "
                # No wait is that long: it was written before the clock was set back.
                "WHERE d.ask_ms <= ? OR d.ask_ms > ? ORDER BY d.at LIMIT ?",
                (now_ms, now_ms + limits.RETRY_ASIDE_MS_MAX, limits.RETRY_ASIDE_AT_ONCE),
            ).fetchall()
        finally:
            reader.close()
        if not due:
            return
        with self._store.write_aside() as connection:
            connection.executemany(
                "UPDATE damaged SET asked = ?, ask_ms = ? WHERE at = ?",
                [(asked + 1, now_ms + waits_ms(asked + 1), at) for asked, at, *_ in due],
            )
        lost = [(asked, Lost(*row)) for asked, *row in due]
        self._send(
            [(one.device, Resend(one.epoch, one.first, one.until).encode()) for _, one in lost]
        )
        for asked, one in lost:
            if asked:
                self.ask_validators(one)


def _tried(work: Callable[[], bool], failed: str) -> bool:
    try:
        return work()
    except (sqlite3.Error, OSError, TallyError, KeyError) as error:
        _log.error(failed, error=str(error))
        return False


def _inner_wrong(store: Store, first: int, to: int) -> bool:
    # The same look without a write: a pass over a store that is whole writes nothing.
    reader = store.reader()
    try:
        for level in range(1, to.bit_length()):
            for at in range(first >> level, to >> level):
                pair = [read_node(reader, level - 1, 2 * at + side) for side in (0, 1)]
                if node_hash(*pair) != read_node(reader, level, at):
                    return True
    finally:
        reader.close()
    return False


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
