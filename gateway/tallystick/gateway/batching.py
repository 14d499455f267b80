"""Builds a batch for one validator from the store. Reads only; signs once."""

import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog
import zstandard

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
from tallystick.gateway.elide import for_sending
from tallystick.gateway.gatewaylog import read_node, subtrees, tree_at
from tallystick.gateway.signing import Signing
from tallystick.gateway.storedsegment import SELECT, StoredSegment
from tallystick.gateway.tracks import tree_from
from tallystick.gateway.validatorconfig import Send

_log = structlog.get_logger("tallystick.gateway.batching")
HASH_SIZE = 32
Items = list[bytes | tuple[int, bytes]]
_BLOCK_BYTES_MAX = 1 << 17  # RFC 8878, 3.1.1.2.4
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class DamagedLog(CouldNotCheck):
    """The nodes of the gateway's own log do not give the root that was signed."""


class Head(NamedTuple):
    """A device's checkpoint in a batch, for the receipt that comes back."""

    device: bytes
    epoch: bytes
    size: int
    statement: bytes


@dataclass
class Built:
    """A signed batch, and what its answer is compared with."""

    first: int
    to: int
    data: bytes
    heads: dict[bytes, Head] = field(default_factory=dict)  # by digest
    told: dict[bytes, bytes] = field(default_factory=dict)  # device -> digest of its credential
    custody: dict[bytes, bytes] = field(default_factory=dict)  # digest -> receipt
    named: dict[bytes, None] = field(default_factory=dict)  # custody receipts, in order
    damaged: list[int] = field(default_factory=list)
    digest: bytes = b""
    tree: Tree = field(default_factory=Tree)  # of the gateway's log, grown by its items
    root: bytes = b""  # of the gateway's log at `to`
    devices: set[bytes] = field(default_factory=set)  # whose segments are in it
    held: list[tuple[bytes, int]] = field(default_factory=list)  # left out: their device waits
    late: bytes | None = None  # the device whose segments it brings that were left out before
    sent: set[int] = field(default_factory=set)  # which ones
    ahead: dict[int, bytes] | None = None  # it brings these before their turn: place, checkpoint


class Builder:
    """Makes batches for one validator."""

    def __init__(
        self, name: str, send: Send, signing: Signing, credential: tuple[bytes, ...]
    ) -> None:
        self._name = name
        self._send = send
        self._signing = signing
        self._credential = list(credential)
        self._credential_digest = sha256(cbor.encode(self._credential))
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

    def build(self, connection: sqlite3.Connection, cursor: int, segments_max: int) -> Built | None:
        """The next batch from `cursor` on; None when there is nothing new."""
        connection.execute("BEGIN")
        try:
            return self._build(connection, Built(cursor, cursor, b""), segments_max)
        finally:
            connection.execute("COMMIT")

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
            return self._build(connection, built, max(built.sent) + 1 - first)
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
            return self._finish(connection, built, *self._items(connection, built, rows, size))
        finally:
            connection.execute("COMMIT")

    def _build(
        self, connection: sqlite3.Connection, built: Built, segments_max: int
    ) -> Built | None:
        rows = connection.execute(
            f"{SELECT} WHERE s.at >= ? ORDER BY s.at LIMIT ?", (built.first, segments_max)
        )
        return self._finish(connection, built, *self._items(connection, built, rows))

    def _finish(
        self, connection: sqlite3.Connection, built: Built, items: Items, told: list[list[bytes]]
    ) -> Built | None:
        if not items:
            return None
        built.sent = {at for at in built.sent if at < built.to}
        begin = tree_at(connection, built.first)
        if self.root_of is not None and self.root_of[0] == built.first:
            # What was signed is known: a wrong head would tell two stories.
            _same(begin, self.root_of[1])
        built.root = tree_at(connection, built.to).root()
        # So is what the batch itself says of the log.
        _same(built.tree, built.root)
        receipts, missing = self._receipts(connection, built)
        head = self._head(built.to, built.root)
        made = Batch(built.first, list(begin.edge), items, told, receipts, missing, head)
        built.data, built.digest = self._signing.sign(made, self._signing.gateway)
        return built

    def _items(
        self, connection: sqlite3.Connection, built: Built, rows: Iterable[Any], passing: int = 0
    ) -> tuple[Items, list[list[bytes]]]:
        items: Items = []
        credentials = self._own_credential(connection, built)
        known: set[bytes] = set()
        size = 0
        built.tree = tree_at(connection, built.first)
        taken = False
        for values in rows:
            row = StoredSegment(*values)
            at, device, epoch = row.at, row.device, row.epoch
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
                break
            taken = True
            items.append(item)
            built.tree.push(node)
            built.to = at + 1
            if device is None or epoch is None:
                continue
            in_turn = built.late is None and built.ahead is None
            if in_turn and self._leaves_out(built, device, at):
                built.held.append((device, at))
            if not isinstance(item, bytes):
                continue
            built.devices.add(device)
            if built.ahead is not None:
                built.ahead[at] = row.checkpoint
            head = row.data[len(row.data) - row.tail :]
            built.heads[row.checkpoint] = Head(device, epoch, row.until, head)
            for begin in range(0, len(row.named), HASH_SIZE):
                built.named[row.named[begin : begin + HASH_SIZE]] = None
            if device not in known:
                known.add(device)
                credentials += self._credential_of(connection, device, built)
        return items, credentials

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

    def _own_credential(self, connection: sqlite3.Connection, built: Built) -> list[list[bytes]]:
        if self._told(connection, self._signing.gateway) == self._credential_digest:
            return []
        built.told[self._signing.gateway] = self._credential_digest
        return [self._credential]

    def _credential_of(
        self, connection: sqlite3.Connection, device: bytes, built: Built
    ) -> list[list[bytes]]:
        row = connection.execute(
            "SELECT credential, digest FROM devices WHERE device = ?", (device,)
        ).fetchone()
        if row is None or self._told(connection, device) == row[1]:
            return []
        built.told[device] = row[1]
        statements: Any = cbor.decode(row[0])
        return [statements]

    def _told(self, connection: sqlite3.Connection, device: bytes) -> bytes | None:
        row = connection.execute(
            "SELECT digest FROM told WHERE validator = ? AND device = ?", (self._name, device)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def _receipts(
        self, connection: sqlite3.Connection, built: Built
    ) -> tuple[list[bytes], list[bytes]]:
        # The custody receipts that the checkpoints name and that this validator has no entry of.
        missing = []
        for digest in built.named:
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
        return list(built.custody.values()), missing

    def _head(self, size: int, root: bytes) -> bytes:
        head = GatewayHead(size, root, time.time_ns() // 1_000_000)
        return self._signing.sign(head, self._signing.gateway)[0]


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


def compress(data: bytes) -> bytes:
    """One zstd frame (RFC 8878) that no receiver takes for a bomb."""
    packed = zstandard.ZstdCompressor(level=limits.ZSTD_LEVEL).compress(data)
    if len(data) <= limits.BATCH_RATIO_SAFE * len(packed):
        return packed
    return stored(data)


def stored(data: bytes) -> bytes:
    """A zstd frame of raw blocks: for the rare batch that packs too well (RFC 8878, 3.1.1)."""
    # Single segment, content size in 8 bytes, no checksum, no dictionary.
    parts = [_ZSTD_MAGIC, b"\xe0", len(data).to_bytes(8, "little")]
    for begin in range(0, len(data), _BLOCK_BYTES_MAX):
        block = data[begin : begin + _BLOCK_BYTES_MAX]
        last = begin + len(block) == len(data)
        parts += [(len(block) << 3 | last).to_bytes(3, "little"), block]
    return b"".join(parts)
