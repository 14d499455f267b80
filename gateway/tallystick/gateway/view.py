"""What the pure core reads of the store, and what in-process code reads in its place."""

import sqlite3
from collections.abc import Callable
from typing import NamedTuple, Protocol

from tallystick.evidence import cbor, custody, segment
from tallystick.evidence.errors import CouldNotCheck, TallyError
from tallystick.gateway.tracks import Log, Track, restored


class Row(NamedTuple):
    """One stored segment; `edge` is the device's tree at `first`."""

    first: int
    until: int
    root: bytes
    edge: bytes
    data: bytes


class Damaged(NamedTuple):
    """A stored segment whose bytes are wrong; `records` bodies were taken, or some were pruned."""

    at: int
    track: int
    first: int
    until: int
    root: bytes
    checkpoint: bytes
    records: int
    pruned: bool


class View(Protocol):
    """The reads of the core; inside a transaction they see what was applied before."""

    def credential(self, device: bytes) -> list[bytes] | None:
        """The statements of a device's credential."""

    def key_owner(self, thumbprint: bytes) -> bytes | None:
        """The device that has, or had, this key."""

    def newest(self, device: bytes) -> bytes | None:
        """A device's newest checkpoint."""

    def log(self, device: bytes, epoch: bytes) -> Log:
        """All that is known of one log; an empty one when nothing is."""

    def epochs(self, device: bytes) -> list[bytes]:
        """A device's known epochs."""

    def named_as_previous(self, device: bytes, epoch: bytes) -> int | None:
        """The size at which a later epoch says that it left this one; None when none does."""

    def left_epochs(self, device: bytes) -> list[tuple[bytes, bytes]]:
        """A device's epochs that name the one before: (epoch, previous epoch)."""

    def receipted_epoch(self, device: bytes, digest: bytes) -> bytes | None:
        """The epoch of which a custody receipt of ours speaks, by the receipt's digest."""

    def first_checkpoint(self, track: int) -> bytes | None:
        """The first checkpoint of a track from 0, as signed; None where it is not to be read."""

    def covering(self, track: int, size: int) -> Row | None:
        """The first stored segment of a track that reaches `size`."""

    def has_checkpoint(self, track: int, until: int, digest: bytes) -> bool:
        """Whether a stored segment of a track ends with this checkpoint."""

    def damaged(self, device: bytes, epoch: bytes, first: int, to: int) -> list[Damaged]:
        """Damaged segments of a log that touch [first, to], where all of that is known."""

    def parked_data(self, parked: int) -> bytes:
        """The bytes of a parked segment."""

    def parked_bytes(self) -> dict[bytes, int]:
        """Parked bytes by device."""

    def parked_of(self, device: bytes, most: int) -> list[tuple[int, bytes, int]]:
        """(number, epoch, bytes) of up to `most` parked segments of a device."""

    def next_numbers(self) -> tuple[int, int]:
        """The first free track number and the first free number of a parked segment."""

    def notarised(self, device: bytes, epoch: bytes) -> list[bytes]:
        """The newest validators' receipts for a log, as messages."""


class StoreView:
    """The view over one SQLite connection; `sync` writes what waits to be written."""

    def __init__(
        self, connection: sqlite3.Connection, sync: Callable[[], None] = lambda: None
    ) -> None:
        self._connection = connection
        self.sync = sync

    def _one(self, sql: str, *values: object) -> tuple[object, ...] | None:
        row: tuple[object, ...] | None = self._connection.execute(sql, values).fetchone()
        return row

    def credential(self, device: bytes) -> list[bytes] | None:
        """The statements of a device's credential."""
        row = self._one("SELECT credential FROM devices WHERE device = ?", device)
        if row is None:
            return None
        statements = cbor.decode(_bytes(row[0]))
        return [_bytes(statement) for statement in statements]

    def key_owner(self, thumbprint: bytes) -> bytes | None:
        """The device that has, or had, this key."""
        row = self._one("SELECT device FROM keys WHERE thumbprint = ?", thumbprint)
        return None if row is None else _bytes(row[0])

    def newest(self, device: bytes) -> bytes | None:
        """A device's newest checkpoint."""
        row = self._one("SELECT newest FROM devices WHERE device = ?", device)
        return None if row is None or row[0] is None else _bytes(row[0])

    def log(self, device: bytes, epoch: bytes) -> Log:
        """All that is known of one log; an empty one when nothing is."""
        log = Log(device, epoch)
        row = self._one(
            "SELECT frozen_at FROM epochs WHERE device = ? AND epoch = ?", device, epoch
        )
        if row is not None:
            log.opened = True
            log.frozen_at = None if row[0] is None else int(str(row[0]))
        for row in self._connection.execute(
            "SELECT track, device, epoch, began, base_root, size, edge, head, bodies_from, "
            "custody, custody_to, custody_elided, elided_to FROM tracks "
            "WHERE device = ? AND epoch = ? ORDER BY track",
            (device, epoch),
        ):
            track = restored(row[:9])
            track.custody, track.custody_to, track.custody_elided, track.elided_to = row[9:]
            log.tracks.append(track)
            log.begun = log.begun or track.began == 0
        for parked, first, size, checkpoint in self._connection.execute(
            "SELECT parked, first, size, checkpoint FROM parked WHERE device = ? AND epoch = ? "
            "ORDER BY first, parked",
            (device, epoch),
        ):
            log.parked[parked] = (first, size, checkpoint)
        for ours, theirs in self._connection.execute(
            "SELECT ours, theirs FROM forks WHERE device = ? AND epoch = ?", (device, epoch)
        ):
            log.contradicting.add((ours, theirs))
        return log

    def epochs(self, device: bytes) -> list[bytes]:
        """A device's known epochs."""
        rows = self._connection.execute("SELECT epoch FROM epochs WHERE device = ?", (device,))
        return [bytes(row[0]) for row in rows]

    def named_as_previous(self, device: bytes, epoch: bytes) -> int | None:
        """The size at which a later epoch says that it left this one; None when none does."""
        row = self._one(
            "SELECT max(previous_size) FROM epochs WHERE device = ? AND previous_epoch = ?",
            device,
            epoch,
        )
        return None if row is None or row[0] is None else int(str(row[0]))

    def left_epochs(self, device: bytes) -> list[tuple[bytes, bytes]]:
        """A device's epochs that name the one before: (epoch, previous epoch)."""
        rows = self._connection.execute(
            "SELECT epoch, previous_epoch FROM epochs "
            "WHERE device = ? AND previous_epoch IS NOT NULL ORDER BY epoch",
            (device,),
        )
        return [(bytes(epoch), bytes(previous)) for epoch, previous in rows]

    def receipted_epoch(self, device: bytes, digest: bytes) -> bytes | None:
        """The epoch of which a custody receipt of ours speaks, by the receipt's digest."""
        row = self._one("SELECT data FROM custody WHERE digest = ? AND device = ?", digest, device)
        return None if row is None else custody.parse(_bytes(row[0])).epoch

    def first_checkpoint(self, track: int) -> bytes | None:
        """The first checkpoint of a track from 0, as signed; None where it is not to be read."""
        self.sync()
        row = self._one(
            "SELECT data FROM segments WHERE track = ? AND first = 0 ORDER BY at LIMIT 1", track
        )
        if row is None:
            return None
        try:
            return segment.parse(_bytes(row[0])).stretches[0].checkpoint
        except TallyError:
            return None  # damaged on disk

    def covering(self, track: int, size: int) -> Row | None:
        """The first stored segment of a track that reaches `size`."""
        self.sync()
        row = self._connection.execute(
            "SELECT first, until, root, edge, data FROM segments WHERE track = ? AND until >= ? "
            "AND first <= ? ORDER BY until LIMIT 1",
            (track, size, size),
        ).fetchone()
        return None if row is None else Row(*row)

    def has_checkpoint(self, track: int, until: int, digest: bytes) -> bool:
        """Whether a stored segment of a track ends with this checkpoint."""
        self.sync()
        sql = "SELECT 1 FROM segments WHERE track = ? AND until = ? AND checkpoint = ?"
        return self._one(sql, track, until, digest) is not None

    def damaged(self, device: bytes, epoch: bytes, first: int, to: int) -> list[Damaged]:
        """Damaged segments of a log that touch [first, to], where all of that is known."""
        rows = self._connection.execute(
            "SELECT s.at, s.track, s.first, s.until, s.root, s.checkpoint, s.records, "
            "p.at IS NOT NULL FROM damaged d JOIN segments s USING (at) "
            "JOIN tracks t USING (track) LEFT JOIN pruned p USING (at) "
            "WHERE t.device = ? AND t.epoch = ? AND s.until >= ? AND s.first <= ? "
            "AND t.began <= ? AND t.size >= ?",
            (device, epoch, first, to, first, to),
        )
        return [Damaged(*row) for row in rows]

    def parked_data(self, parked: int) -> bytes:
        """The bytes of a parked segment."""
        row = self._one("SELECT data FROM parked WHERE parked = ?", parked)
        if row is None:
            raise KeyError(parked)
        return _bytes(row[0])

    def parked_bytes(self) -> dict[bytes, int]:
        """Parked bytes by device."""
        rows = self._connection.execute("SELECT device, sum(size) FROM parked GROUP BY device")
        return {bytes(device): int(size) for device, size in rows}

    def parked_of(self, device: bytes, most: int) -> list[tuple[int, bytes, int]]:
        """(number, epoch, bytes) of up to `most` parked segments of a device."""
        rows = self._connection.execute(
            "SELECT parked, epoch, size FROM parked WHERE device = ? LIMIT ?", (device, most)
        )
        return [(int(parked), bytes(epoch), int(size)) for parked, epoch, size in rows]

    def next_numbers(self) -> tuple[int, int]:
        """The first free track number and the first free number of a parked segment."""
        track = self._connection.execute(
            "SELECT max(coalesce((SELECT max(track) FROM tracks), 0), "
            "coalesce((SELECT max(theirs) FROM forks), 0)) + 1"
        ).fetchone()[0]
        parked = self._connection.execute(
            "SELECT coalesce(max(parked), 0) + 1 FROM parked"
        ).fetchone()[0]
        return int(track), int(parked)

    def notarised(self, device: bytes, epoch: bytes) -> list[bytes]:
        """The newest validators' receipts for a log, as messages."""
        rows = self._connection.execute(
            "SELECT message FROM notarised WHERE device = ? AND epoch = ?", (device, epoch)
        )
        return [bytes(row[0]) for row in rows]


def track_values(track: Track) -> tuple[object, ...]:
    """The row of a track, in the order of the schema."""
    return (
        track.track,
        track.device,
        track.epoch,
        track.began,
        track.base_root,
        track.size,
        b"".join(track.tree.edge),
        track.head,
        track.bodies_from,
        track.custody,
        track.custody_to,
        track.custody_elided,
        track.elided_to,
    )


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise CouldNotCheck("bad-type", "the store holds something else than bytes here")
    return value
