"""Builds a batch for one validator from the store. Reads only; signs once."""

import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import structlog

from tallystick.evidence import cbor
from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import segment as segments
from tallystick.evidence.batch import Batch
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import CouldNotCheck, Malformed
from tallystick.evidence.gatewayhead import GatewayHead
from tallystick.evidence.segment import Edge, Segment
from tallystick.evidence.tree import Tree
from tallystick.gateway import limits
from tallystick.gateway.built import Built, Head, Items, Part
from tallystick.gateway.elide import for_sending
from tallystick.gateway.gatewaylog import read_node, subtrees, tree_at
from tallystick.gateway.packing import compress
from tallystick.gateway.shared import Shared
from tallystick.gateway.signing import Signing
from tallystick.gateway.storedsegment import SELECT, StoredSegment
from tallystick.gateway.tracks import tree_from
from tallystick.gateway.validatorconfig import Send

_log = structlog.get_logger("tallystick.gateway.batching")
HASH_SIZE = 32


class DamagedLog(CouldNotCheck):
    """The nodes of the gateway's own log do not give the root that was signed."""


class Builder:
    """Makes batches for one validator."""

    def __init__(
        self,
        name: str,
        send: Send,
        signing: Signing,
        credential: tuple[bytes, ...],
        shared: Shared[Part] | None = None,
    ) -> None:
        self._name = name
        self._send = send
        self._signing = signing
        self._credential = list(credential)
        self._credential_digest = sha256(cbor.encode(self._credential))
        self._shared: Shared[Part] = Shared() if shared is None else shared
        self.gateway = signing.gateway
        # Segments that this validator has no history for: they are sent with their edge.
        self.edged: set[int] = set()
        # Segments that this validator refuses to read at all: it gets their leaf hashes.
        self.elided: set[int] = set()
        # (size, root) of the gateway's log as it was signed last for this validator.
        self.root_of: tuple[int, bytes] | None = None
        # Whether a device must wait (quotas.py).
        self.holds: Callable[[bytes], bool] = lambda _device: False
        # Segments that this validator was given before their turn (overtaking.py).
        self.given: set[int] = set()
        self.bytes_max = limits.BATCH_BYTES

    def build(
        self,
        connection: sqlite3.Connection,
        cursor: int,
        segments_max: int,
        after: Built | None = None,
    ) -> Built | None:
        """The next batch from `cursor` on; None when there is nothing new.

        `after`: it is to go when that one is answered as it should be; `cursor` is its end.
        """
        connection.execute("BEGIN")
        try:
            built = Built(cursor, cursor, b"", built_s=time.monotonic(), after=after)
            if not self._shared.several(self._send):
                return self._finish(connection, self._part(connection, built, segments_max))
            return self._build_shared(connection, built, segments_max)
        finally:
            connection.execute("COMMIT")

    def _build_shared(
        self, connection: sqlite3.Connection, built: Built, segments_max: int
    ) -> Built | None:
        key = (self._send, built.first, segments_max, self.bytes_max)
        with self._shared.making(key):
            part = self._shared.get(key)
            if part is None or not self._fits(connection, part.built):
                part = self._part(connection, built, segments_max)
                if part is None or not part.built.plain:
                    return self._finish(connection, part)
            else:
                part = replace(part, built=_again(part.built, built.after))
            made = self._finish(connection, part)
            self._shared.put(
                key, part, part.size + sum(len(one) for one, _ in part.signed.values())
            )
            return made

    def _fits(self, connection: sqlite3.Connection, built: Built) -> bool:
        # What another validator's forwarder made does for this one, and nothing came since.
        for at in range(built.first, built.to):
            if at in self.elided or at in self.given or at in self.edged:
                return False
        if any(self.holds(device) for device in built.devices):
            return False
        return built.full or built.to == log_size(connection)

    def build_late(
        self, connection: sqlite3.Connection, device: bytes, segments_max: int
    ) -> Built | None:
        """Segments of a device that were left out, over their own part of the log, in order."""
        connection.execute("BEGIN")
        try:
            rows = connection.execute(
                "SELECT at FROM held WHERE validator = ? AND device = ? ORDER BY at LIMIT ?",
                (self._name, device, segments_max),
            ).fetchall()
            if not rows:
                return None
            first = rows[0][0]
            built = Built(first, first, b"", late=device)
            built.sent = {at for (at,) in rows if at < first + limits.LATE_SPAN}
            part = self._part(connection, built, max(built.sent) + 1 - first)
            return self._finish(connection, part)
        finally:
            connection.execute("COMMIT")

    def build_ahead(
        self, connection: sqlite3.Connection, known: tuple[int, bytes], places: list[int]
    ) -> Built | None:
        """Just these segments; what lies between them goes as hashes of subtrees, later in full.

        `known`: size and root of the log as it was signed last for this validator, far ahead of
        its cursor perhaps. The batch begins there, or before at the first place, and passes it.
        """
        connection.execute("BEGIN")
        try:
            size, root = known
            first = min(size, places[0])
            built = Built(first, first, b"", ahead={})
            rows = connection.execute(
                f"{SELECT} WHERE s.at IN ({','.join('?' * len(places))}) ORDER BY s.at", places
            )
            _same(tree_at(connection, size), root)
            return self._finish(connection, self._items(connection, built, rows, size))
        finally:
            connection.execute("COMMIT")

    def _part(self, connection: sqlite3.Connection, built: Built, segments_max: int) -> Part | None:
        rows = connection.execute(
            f"{SELECT} WHERE s.at >= ? ORDER BY s.at LIMIT ?", (built.first, segments_max)
        )
        part = self._items(connection, built, rows)
        built.full = built.full or built.to - built.first >= segments_max
        return part

    def _finish(self, connection: sqlite3.Connection, part: Part | None) -> Built | None:
        if part is None:
            return None
        built, begin = part.built, part.begin
        before = built.after
        known = self.root_of if before is None else (before.to, before.root)
        built.sent = {at for at in built.sent if at < built.to}
        if known is not None and known[0] == built.first:
            # What was signed is known: a wrong head would tell two stories.
            _same(begin, known[1])
        built.root = tree_at(connection, built.to).root()
        # So is what the batch itself says of the log.
        _same(built.tree, built.root)
        credentials = self._credentials(connection, built)
        missing = self._receipts(connection, built)
        along = (tuple(built.told.items()), tuple(built.custody), tuple(missing))
        if along not in part.signed:
            part.signed[along] = self._signed(part, credentials, missing)
        built.packed, built.digest = part.signed[along]
        built.after = None
        return built

    def _signed(
        self, part: Part, credentials: list[list[bytes]], missing: list[bytes]
    ) -> tuple[bytes, bytes]:
        built, edge = part.built, list(part.begin.edge)
        receipts = list(built.custody.values())
        head = self._head(built.to, built.root)
        made = Batch(built.first, edge, part.items, credentials, receipts, missing, head)
        data, digest = self._signing.sign(made, self._signing.gateway)
        return compress(data), digest

    def _items(
        self, connection: sqlite3.Connection, built: Built, rows: Iterable[Any], passing: int = 0
    ) -> Part | None:
        items: Items = []
        size = 0
        begin = tree_at(connection, built.first)
        built.tree = begin.copy()
        taken = False
        for values in rows:
            row = StoredSegment(*values)
            at = row.at
            if at > built.to:
                # A receiver that knows the log up to `passing` compares its root there.
                for end in sorted({at, min(max(passing, built.to), at)}):
                    for level, node in subtrees(connection, built.to, end):
                        items.append((level, node))
                        built.tree.push_subtree(level, node)
                    built.to = end
            node = read_node(connection, 0, at)
            item = self._item(row, node, built)
            if at in self.edged and isinstance(item, bytes):
                base = tree_from(row.first, row.edge)
                item = with_edge(connection, item, row.track, base)
            size += len(item) if isinstance(item, bytes) else HASH_SIZE
            if taken and (size > self.bytes_max or len(items) > limits.BATCH_ITEMS):
                built.full = True
                break
            taken = True
            items.append(item)
            built.tree.push(node)
            built.to = at + 1
            built.plain = built.plain and isinstance(item, bytes) and at not in self.edged
            self._note(built, row, item)
        return Part(built, begin, items, size) if items else None

    def _note(self, built: Built, row: StoredSegment, item: bytes | tuple[int, bytes]) -> None:
        at, device, epoch = row.at, row.device, row.epoch
        if device is None or epoch is None:
            return
        in_turn = built.late is None and built.ahead is None
        if in_turn and self._leaves_out(built, device, at):
            built.held.append((device, at))
        if not isinstance(item, bytes):
            return
        built.devices.setdefault(device)
        if built.ahead is not None:
            built.ahead[at] = row.checkpoint
        head = row.data[len(row.data) - row.tail :]
        built.heads[row.checkpoint] = Head(device, epoch, row.until, head)
        for begin in range(0, len(row.named), HASH_SIZE):
            built.named[row.named[begin : begin + HASH_SIZE]] = None

    def _leaves_out(self, built: Built, device: bytes, at: int) -> bool:
        return at not in built.sent if built.late is not None else self.holds(device)

    def _item(self, row: StoredSegment, node: bytes, built: Built) -> bytes | tuple[int, bytes]:
        if row.at in self.elided or self._leaves_out(built, row.device or b"", row.at):
            return 0, node
        if row.at in self.given and built.late is None and built.ahead is None:
            return 0, node
        if not row.intact(node):
            _log.error("a stored segment is damaged and not forwarded", at=row.at)
            built.damaged.append(row.at)
            return 0, node
        return for_sending(row.data, self._send)

    def _credentials(self, connection: sqlite3.Connection, built: Built) -> list[list[bytes]]:
        # Of the gateway, and of the devices, where this validator was not told yet.
        found = []
        if self._told(connection, self._signing.gateway, built) != self._credential_digest:
            built.told[self._signing.gateway] = self._credential_digest
            found.append(self._credential)
        for device in built.devices:
            row = connection.execute(
                "SELECT credential, digest FROM devices WHERE device = ?", (device,)
            ).fetchone()
            if row is not None and self._told(connection, device, built) != row[1]:
                built.told[device] = row[1]
                statements: Any = cbor.decode(row[0])
                found.append(statements)
        return found

    def _told(self, connection: sqlite3.Connection, device: bytes, built: Built) -> bytes | None:
        if built.after is not None and device in built.after.told:
            return built.after.told[device]
        row = connection.execute(
            "SELECT digest FROM told WHERE validator = ? AND device = ?", (self._name, device)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def _receipts(self, connection: sqlite3.Connection, built: Built) -> list[bytes]:
        # The custody receipts that the checkpoints name and that this validator has no entry of.
        missing = []
        for digest in built.named:
            if built.after is not None and digest in built.after.custody:
                continue
            receipted = connection.execute(
                "SELECT 1 FROM receipts WHERE validator = ? AND statement = ?",
                (self._name, digest),
            ).fetchone()
            if receipted is not None:
                continue
            row = connection.execute(
                "SELECT data FROM custody WHERE digest = ?", (digest,)
            ).fetchone()
            if row is None:
                missing.append(digest)
            else:
                built.custody[digest] = row[0]
        return missing

    def _head(self, size: int, root: bytes) -> bytes:
        head = GatewayHead(size, root, time.time_ns() // 1_000_000)
        return self._signing.sign(head, self._signing.gateway)[0]


def log_size(connection: sqlite3.Connection) -> int:
    """How many segments the gateway's log has."""
    (size,) = connection.execute("SELECT coalesce(max(at) + 1, 0) FROM segments").fetchone()
    return int(size)


def _again(built: Built, after: Built | None) -> Built:
    # For another validator: what it is told, and what goes along, is its own.
    return replace(built, told={}, custody={}, after=after)


def _same(tree: Tree, root: bytes) -> None:
    if tree.root() != root:
        raise DamagedLog(
            "bad-root", "a node of the gateway's own log is damaged; it is mended and sent then"
        )


def with_edge(connection: sqlite3.Connection, data: bytes, track: int, tree: Tree) -> bytes:
    """The segment with the device's tree at its first index, for a receiver without history.

    As it was, where it has an edge, or where no checkpoint of exactly that size is stored.
    """
    segment = segments.parse(data)
    rows = connection.execute(
        "SELECT checkpoint, tail, data FROM segments WHERE track = ? AND until = ?",
        (track, tree.size),
    )
    for digest, tail, before in rows if tree.size and segment.edge is None else ():
        signed = before[len(before) - tail :]
        try:
            intact = checkpoints.parse(signed).digest == digest
        except Malformed:
            continue  # damaged on disk
        if intact:
            edge = Edge(signed, list(tree.edge))
            return Segment(
                segment.device, segment.epoch, segment.first, edge, segment.stretches
            ).encode()
    return data
