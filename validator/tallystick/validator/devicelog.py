"""A device's log as this validator knows it: its tree, its stretches, its checkpoints."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence import checkpoint, segment
from tallystick.evidence import leaf as leaves_of
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.segment import Segment, Stretch
from tallystick.evidence.tree import Tree, node_hash
from tallystick.validator import schema
from tallystick.validator.limits import LOGS_CACHED_MAX
from tallystick.validator.rows import Prepared
from tallystick.validator.work import Recent, Work

HASH_SIZE = 32


_KEPT = (
    "size",
    "edge",
    "began",
    "covered",
    "claims",
    "ahead",
    "heads_ahead",
    "frozen_at",
    "checkpoint",
)
_SAVE = Prepared(
    sa.update(schema.logs)
    .where(schema.logs.c.log == sa.bindparam("log_"))
    .values({name: sa.bindparam(name) for name in _KEPT})
)


class DeviceLog:
    """(device, epoch): what is known of it, kept by the sequencer, written with its transaction."""

    def __init__(self, log: int, device: bytes, epoch: bytes) -> None:
        self.log = log
        self.device = device
        self.epoch = epoch
        self.tree = Tree()
        self.began = 0
        self.covered = 0
        self.claims = 0
        self.ahead = 0
        self.heads_ahead = 0
        # Nothing was erased from here on; None: not looked up yet.
        self.erased_to: int | None = None
        self.frozen_at: int | None = None
        self.newest: Checkpoint | None = None
        self.stored = False
        self.changed = False

    @property
    def size(self) -> int:
        """Up to where it is known."""
        return self.tree.size

    @property
    def complete(self) -> bool:
        """Every claim that its newest checkpoint counts is held."""
        return self.newest is not None and self.claims >= self.newest.claims

    def heard(self, head: Checkpoint) -> None:
        """A head of it: the newest is the largest, and of one size the last one signed."""
        newest = self.newest
        if newest is None or (head.size, head.boot, head.uptime_ms) >= (
            newest.size,
            newest.boot,
            newest.uptime_ms,
        ):
            self.newest = head
            self.changed = True

    def save(self, work: Work) -> None:
        """Write what changed."""
        if not self.changed:
            return
        row = {
            "size": self.size,
            "edge": b"".join(self.tree.edge),
            "began": self.began,
            "covered": self.covered,
            "claims": self.claims,
            "ahead": self.ahead,
            "heads_ahead": self.heads_ahead,
            "frozen_at": self.frozen_at,
            "checkpoint": None if self.newest is None else self.newest.digest,
        }
        if self.stored:
            work.update(_SAVE, log_=self.log, **row)
        else:
            work.insert(schema.logs, log=self.log, device=self.device, epoch=self.epoch, **row)
        self.stored = True
        self.changed = False


class DeviceLogs:
    """All of them; the newest used in memory."""

    def __init__(self) -> None:
        self._recent: Recent[tuple[bytes, bytes], DeviceLog] = Recent(LOGS_CACHED_MAX)
        self._next: int | None = None

    def forget(self) -> None:
        """After a rollback."""
        self._recent.clear()
        self._next = None

    def get(self, work: Work, device: bytes, epoch: bytes) -> DeviceLog | None:
        """A log that is known."""
        key = (device, epoch)
        log = work.logs.get(key)
        if log is None:
            log = self._recent.get(key)
            if log is None:
                log = self._load(work, device, epoch)
            if log is not None:
                self._recent.put(key, log)
                work.logs[key] = log
        return log

    def open(self, work: Work, device: bytes, epoch: bytes) -> DeviceLog:
        """A log, empty when it is new."""
        log = self.get(work, device, epoch)
        if log is None:
            if self._next is None:
                newest = work.connection.execute(sa.select(sa.func.max(schema.logs.c.log)))
                self._next = (newest.scalar_one() or 0) + 1
            log = DeviceLog(self._next, device, epoch)
            log.changed = True
            self._next += 1
            self._recent.put((device, epoch), log)
            work.logs[device, epoch] = log
        return log

    def of(self, work: Work, device: bytes) -> list[DeviceLog]:
        """All logs of a device."""
        epochs = set(
            work.connection.execute(
                sa.select(schema.logs.c.epoch).where(schema.logs.c.device == device)
            ).scalars()
        )
        epochs |= {epoch for owner, epoch in work.logs if owner == device}
        found = (self.get(work, device, epoch) for epoch in sorted(epochs))
        return [log for log in found if log is not None]

    def _load(self, work: Work, device: bytes, epoch: bytes) -> DeviceLog | None:
        row = work.connection.execute(
            sa.select(schema.logs).where(
                schema.logs.c.device == device, schema.logs.c.epoch == epoch
            )
        ).one_or_none()
        if row is None:
            return None
        log = DeviceLog(row.log, device, epoch)
        log.tree = Tree(row.size, split(row.edge))
        log.began, log.covered = row.began, row.covered
        log.claims, log.ahead, log.heads_ahead = row.claims, row.ahead, row.heads_ahead
        log.frozen_at = row.frozen_at
        log.stored = True
        if row.checkpoint is not None:
            log.newest = statement_of(work.connection, row.checkpoint)
        return log


def split(joined: bytes) -> list[bytes]:
    """Hashes that were stored joined."""
    return [joined[at : at + HASH_SIZE] for at in range(0, len(joined), HASH_SIZE)]


def statement_of(connection: Connection, digest: bytes) -> Checkpoint | None:
    """A logged checkpoint."""
    data = connection.execute(
        sa.select(schema.entries.c.data).where(schema.entries.c.digest == digest)
    ).scalar_one_or_none()
    return None if data is None else checkpoint.parse(data)


# --- stretches -----------------------------------------------------------------------------


class Held:
    """A stored stretch: the tree before it, and its items."""

    def __init__(
        self,
        log: int,
        edge: list[bytes],
        stretch: Stretch,
        hashes: "list[bytes | None] | None" = None,
        packed: bytes | None = None,
    ) -> None:
        self.log = log
        self.edge = edge
        self.stretch = stretch
        self._hashes = hashes  # of the items, where they were computed already
        self.packed = packed  # as `pack` gives it, where it came so

    def replace(self, stretch: Stretch) -> None:
        """Another version of the same stretch."""
        self.stretch = stretch
        self._hashes = None
        self.packed = None

    @property
    def first(self) -> int:
        """Index of its first item."""
        return self.stretch.first

    @property
    def to(self) -> int:
        """Index after its last item."""
        return self.stretch.to

    def leaves(self) -> list[tuple[int, int, bytes]]:
        """(index, level, hash) of each item."""
        if self._hashes is None:
            return leaves_in(self.stretch)
        found = []
        at = self.first
        for item, leaf in zip(self.stretch.items, self._hashes, strict=True):
            if isinstance(item, bytes):
                found.append((at, 0, leaf or b""))
                at += 1
            else:
                found.append((at, item[0], item[1]))
                at += 1 << item[0]
        return found

    def tree_at(self, size: int) -> Tree | None:
        """The tree of a size inside it; None inside an elided subtree."""
        tree = Tree(self.first, self.edge)
        for at, level, node in self.leaves():
            if at >= size:
                break
            tree.push_subtree(level, node)
        return tree if tree.size == size else None

    def reader(self) -> "NodeReader":
        """Reads nodes of the tree up to its end."""
        return NodeReader(self.first, self.edge, self.leaves())


def leaves_in(stretch: Stretch) -> list[tuple[int, int, bytes]]:
    """(index, level, hash) of each item of a stretch."""
    found = []
    at = stretch.first
    nth = 0
    secret = stretch.secret
    for item in stretch.items:
        if isinstance(item, bytes):
            if isinstance(secret, bytes):
                salt = leaves_of.salt(secret, at)
            else:
                salt = (secret or [])[nth]
                nth += 1
            found.append((at, 0, leaves_of.leaf(salt, item)))
            at += 1
        else:
            found.append((at, item[0], item[1]))
            at += 1 << item[0]
    return found


class NodeReader:
    """Complete nodes of a tree, from its edge at `first` and the items after it.

    A path from a leaf behind `first` meets, on its left, only nodes that are in the edge, or that
    are made of them and of the items.
    """

    def __init__(self, first: int, edge: list[bytes], items: list[tuple[int, int, bytes]]) -> None:
        self._nodes: dict[tuple[int, int], bytes] = {}
        begin = 0
        for node in edge:
            level = (first - begin).bit_length() - 1
            self._nodes[level, begin >> level] = node
            begin += 1 << level
        for at, level, node in items:
            self._nodes[level, at >> level] = node

    def __call__(self, level: int, at: int) -> bytes:
        """The node; KeyError where it is inside an elided subtree."""
        node = self._nodes.get((level, at))
        if node is None:
            if level == 0:
                raise KeyError(at)
            node = node_hash(self(level - 1, 2 * at), self(level - 1, 2 * at + 1))
            self._nodes[level, at] = node
        return node


def pack(device: bytes, epoch: bytes, stretch: Stretch) -> bytes:
    """A stretch as it is stored: a segment of its own."""
    return Segment(device, epoch, stretch.first, None, [stretch]).encode()


def held_over(connection: Connection, log: int, index: int) -> Held | None:
    """The stretch that holds an index."""
    row = connection.execute(
        sa.select(schema.stretches)
        .where(schema.stretches.c.log == log, schema.stretches.c.first <= index)
        .order_by(schema.stretches.c.first.desc())
        .limit(1)
    ).one_or_none()
    if row is None or row.to <= index:
        return None
    return Held(log, split(row.edge), segment.parse(row.items).stretches[0])
