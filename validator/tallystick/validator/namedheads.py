"""Paths to the head that a revocation names, for evidence files (docs/protocol.md, 5.2 and 7).

Who reads a file holds no log: only a path to exactly that head shows him that a record of a
compromised key lies on its branch, and not on that of whoever took the key.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence import leaf as leaves
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.credential import Identity
from tallystick.evidence.errors import TallyError
from tallystick.evidence.half import Half
from tallystick.evidence.proof import verify_inclusion
from tallystick.evidence.tree import proof_from_nodes
from tallystick.validator import schema
from tallystick.validator.devicelog import held_over, split
from tallystick.validator.follow import StoredNodes, log_of
from tallystick.verify.standing import Left, left_before, proves_nothing


class Path(NamedTuple):
    """From a record to a logged checkpoint: where that is logged, its statement, the hashes."""

    entry: int
    checkpoint: bytes
    path: list[bytes]


class NamedHeads:
    """Reads one snapshot of the store."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._prefixes: dict[tuple[bytes, bytes], Left] = {}
        self._nodes: dict[int, StoredNodes] = {}

    def path_to(self, identity: Identity, head: Checkpoint, half: Half) -> Path | None:
        """From the record of `half`, which is under `head`, to the head that is trusted.

        None where no revocation as compromised names one, or the log here does not lead to it.
        """
        period = identity.period(identity.own_key_of(head).thumbprint())
        if not proves_nothing(identity, head) or period.end is None:
            return None
        named = self._prefix(identity.id, period.end).get(head.epoch)
        if named is None or named == (head.size, head.root) or half.index >= named[0]:
            return None
        return self._path(identity.id, head.epoch, named, half)

    def _prefix(self, device: bytes, end: list[Any]) -> Left:
        epoch, size, root = end
        if (device, epoch) not in self._prefixes:
            left = left_before(epoch, self._first_of(device))
            self._prefixes[device, epoch] = {**left, epoch: (size, root)}
        return self._prefixes[device, epoch]

    def _first_of(self, device: bytes) -> Callable[[bytes], bytes | None]:
        return lambda epoch: first_record(self._connection, device, epoch)

    def _path(
        self, device: bytes, epoch: bytes, named: tuple[int, bytes], half: Half
    ) -> Path | None:
        log = log_of(self._connection, device, epoch)
        size, root = named
        table, entries = schema.checkpoints, schema.entries
        row = None
        if log is not None and size <= log.size:
            row = self._connection.execute(
                sa.select(entries.c.entry, entries.c.data)
                .join(table, table.c.entry == entries.c.entry)
                .where(table.c.log == log.log, table.c.size == size, table.c.root == root)
                .order_by(entries.c.entry)
                .limit(1)
            ).one_or_none()
        if row is None:
            return None
        read = self._nodes.setdefault(
            log.log, StoredNodes(self._connection, log.log, log.size, split(log.edge))
        )
        try:
            path = proof_from_nodes(read, half.index, size)
            # The log here may be another branch than the head's.
            verify_inclusion(leaves.leaf(half.salt, half.record), half.index, size, path, root)
        except (KeyError, TallyError):
            return None
        return Path(row.entry, row.data, path)


def first_record(connection: Connection, device: bytes, epoch: bytes) -> bytes | None:
    """The first record of an epoch of a device; None where its body is not held."""
    log = log_of(connection, device, epoch)
    held = None if log is None else held_over(connection, log.log, 0)
    first = held.stretch.items[0] if held is not None and held.stretch.items else None
    return first if isinstance(first, bytes) else None
