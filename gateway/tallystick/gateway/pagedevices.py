"""What is known of devices, for the page: read row by row, remembered as long as it is the same."""

import sqlite3
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tallystick.evidence import cbor, checkpoint, custody, keycustody
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.credential import Credential, Identity, verify_credential
from tallystick.evidence.enrolment import CUSTODIES, CUSTODY_SECURE_ELEMENT
from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import PublicKey, device_text
from tallystick.gateway import devicehold, pagelimits, pagewords
from tallystick.gateway.pagereads import Paced
from tallystick.gateway.pagestate import Device, Skew

# An ATECC608's counters end there (facts of the chip; hw/atecc608_counter.py). Those of a TPM have
# 64 bits, which nobody uses up.
CHIP_COUNTER_MAX = 2_097_151
# Two offsets of one clock are the same within this, and a tenth of the time between them: what
# waited and comes in a rush shows offsets that fall as fast as time goes.
STEADY_MS = 2_000
STEADY_SHARE = 0.1
STEADY_LOOKS_MIN = 3


class Piece(NamedTuple):
    """One track: a piece of one log without holes."""

    track: int
    epoch: bytes
    began: int
    size: int


class Clock(NamedTuple):
    """A head's wall time when it came."""

    came_ms: int
    offset_ms: int
    uncertainty_ms: int


@dataclass
class Known:
    """What is remembered of one device."""

    id: bytes
    iss: str
    digest: bytes = b""
    identity: Identity | None = None
    why_not: str = ""
    newest: bytes = b""
    head: Checkpoint | None = None
    seen_ms: int | None = None
    suspect: str | None = None
    suspect_ms: int | None = None
    clocks: deque[Clock] = field(default_factory=lambda: deque(maxlen=pagelimits.CLOCKS_KEPT))
    pieces: list[Piece] = field(default_factory=list)
    parked: int = 0
    # What each validator has receipted: (validator, epoch) -> size.
    receipted: dict[tuple[str, bytes], int] = field(default_factory=dict)
    hold: str | None = None


class Fleet:
    """All devices of the store; `read` once a look, in one read transaction of the caller's."""

    def __init__(self, roots: dict[str, PublicKey]) -> None:
        self._roots = roots
        self._pinned = dict(roots)
        self.known: dict[bytes, Known] = {}
        self._seen: dict[int, int] = {}  # track -> when its newest segment came
        self._size = -1  # of the gateway's log, when it was last looked at
        self._receipted = Paced(_receipted)

    def read(self, connection: sqlite3.Connection) -> None:
        """Bring what is remembered up to the store."""
        self._read_devices(connection)
        self._read_tracks(connection)
        receipted = self._receipted.get(connection)
        held = devicehold.of_devices(connection)
        for device in self.known.values():
            device.parked = 0
            device.hold = held.get(device.id)
            device.receipted = receipted.get(device.id, {})
        for id_, count in connection.execute("SELECT device, count(*) FROM parked GROUP BY device"):
            if id_ in self.known:
                self.known[id_].parked = count
        for id_, since_ms in connection.execute(
            "SELECT device, min(time_ms) FROM forks GROUP BY device"
        ):
            if id_ in self.known:
                self.known[id_].suspect_ms = since_ms

    def _read_devices(self, connection: sqlite3.Connection) -> None:
        if self._roots != self._pinned:
            # A peer came or went: everybody is verified anew.
            self._pinned = dict(self._roots)
            for one in self.known.values():
                one.digest = b""
        for id_, iss, digest, suspect, newest in connection.execute(
            "SELECT device, iss, digest, suspect, newest FROM devices"
        ):
            if id_ not in self.known:
                self.known[id_] = Known(id_, iss)
            one = self.known[id_]
            one.iss, one.suspect = iss, suspect
            if one.digest != digest:
                one.digest = digest
                self._identify(connection, one)
            if newest is not None and one.newest != newest:
                one.newest = newest
                one.head = checkpoint.parse(newest)

    def _identify(self, connection: sqlite3.Connection, one: Known) -> None:
        (data,) = connection.execute(
            "SELECT credential FROM devices WHERE device = ?", (one.id,)
        ).fetchone()
        try:
            one.identity = verify_credential(Credential(cbor.decode(data)), self._pinned)
        except TallyError as error:
            one.identity, one.why_not = None, error.message

    def _read_tracks(self, connection: sqlite3.Connection) -> None:
        for one in self.known.values():
            one.pieces = []
        size = log_size(connection)
        came = self._came(connection, size)
        for track, id_, epoch, began, until in connection.execute(
            "SELECT track, device, epoch, began, size FROM tracks ORDER BY device, epoch, began"
        ):
            if id_ not in self.known:
                continue
            one = self.known[id_]
            one.pieces.append(Piece(track, epoch, began, until))
            seen_ms = came.get(track)
            if seen_ms is None and track not in self._seen:
                seen_ms = self._last(connection, track)
            if seen_ms is None:
                continue
            self._seen[track] = seen_ms
            if one.seen_ms is None or seen_ms > one.seen_ms:
                one.seen_ms = seen_ms
                _note_clock(one)
        self._size = size

    def _came(self, connection: sqlite3.Connection, size: int) -> dict[int, int]:
        # What came since the last look; at the first, each track is asked for its newest instead.
        if self._size < 0:
            return {}
        rows = connection.execute(
            "SELECT track, max(time_ms) FROM segments WHERE at >= ? AND at < ? GROUP BY track",
            (self._size, size),
        )
        return {track: time_ms for track, time_ms in rows if time_ms is not None}

    @staticmethod
    def _last(connection: sqlite3.Connection, track: int) -> int | None:
        row = connection.execute(
            "SELECT time_ms FROM segments WHERE track = ? ORDER BY until DESC LIMIT 1", (track,)
        ).fetchone()
        if row is not None:
            return int(row[0])
        row = connection.execute("SELECT custody FROM tracks WHERE track = ?", (track,)).fetchone()
        return None if row[0] is None else custody.parse(row[0]).time_ms

    @property
    def records(self) -> int:
        """Records in custody, of all."""
        return sum(one.size - one.began for device in self.known.values() for one in device.pieces)

    def ended(self) -> set[bytes]:
        """Devices whose key has ended."""
        return {
            one.id
            for one in self.known.values()
            if one.identity is not None and one.identity.status != "active"
        }

    def rows(self, validators: Iterable[str]) -> list[Device]:
        """Everybody's line."""
        names = list(validators)
        return [row_of(one, names) for one in self.known.values()]


def _receipted(connection: sqlite3.Connection) -> dict[bytes, dict[tuple[str, bytes], int]]:
    found: dict[bytes, dict[tuple[str, bytes], int]] = {}
    for validator, device, epoch, size in connection.execute(
        "SELECT validator, device, epoch, size FROM notarised"
    ):
        found.setdefault(device, {})[validator, epoch] = size
    return found


def log_size(connection: sqlite3.Connection) -> int:
    """How many segments the gateway's log has."""
    (size,) = connection.execute("SELECT coalesce(max(at) + 1, 0) FROM segments").fetchone()
    return int(size)


def _note_clock(one: Known) -> None:
    head, came_ms = one.head, one.seen_ms
    if head is None or head.wall is None or came_ms is None:
        return
    time_ms, uncertainty_ms = head.wall
    one.clocks.append(Clock(came_ms, time_ms - came_ms, uncertainty_ms))


def skew_of(clocks: Iterable[Clock]) -> Skew | None:
    """The clock's offset as the least delayed head shows it; None when no head told a time."""
    looks = list(clocks)
    if not looks:
        return None
    best = max(looks, key=lambda one: one.offset_ms)
    offsets = [one.offset_ms for one in looks]
    span_ms = looks[-1].came_ms - looks[0].came_ms
    same = max(offsets) - min(offsets) <= STEADY_MS + STEADY_SHARE * span_ms
    steady = len(looks) >= STEADY_LOOKS_MIN and same
    return Skew(offset_ms=best.offset_ms, uncertainty_ms=best.uncertainty_ms, steady=steady)


def gaps_of(pieces: Iterable[Piece]) -> int:
    """How many indexes below the end of each log are in none of its pieces."""
    missing = 0
    reached: dict[bytes, int] = {}
    for piece in sorted(pieces, key=lambda one: (one.epoch, one.began)):
        missing += max(0, piece.began - reached.get(piece.epoch, 0))
        reached[piece.epoch] = max(reached.get(piece.epoch, 0), piece.size)
    return missing


def backlog_of(one: Known, validators: Iterable[str]) -> int:
    """Records here that the validator which has least of this device has not receipted."""
    ends: dict[bytes, int] = {}
    for piece in one.pieces:
        ends[piece.epoch] = max(ends.get(piece.epoch, 0), piece.size)
    waits = [
        sum(max(0, size - one.receipted.get((name, epoch), 0)) for epoch, size in ends.items())
        for name in validators
    ]
    return max(waits, default=0)


def row_of(one: Known, validators: Iterable[str]) -> Device:
    """One device's line."""
    identity = one.identity
    counter = None if one.head is None else one.head.counter
    chip = identity is not None and identity.keys[-1].custody == CUSTODY_SECURE_ELEMENT
    left = CHIP_COUNTER_MAX - counter if chip and counter is not None else None
    counted = None if identity is None else keycustody.current(identity)
    return Device(
        id=device_text(one.id),
        iss=one.iss,
        tag=None if identity is None else tag_of(identity.enrolment.details),
        status="unknown root" if identity is None else identity.status,
        custody="" if counted is None else CUSTODIES[counted.level],
        custody_claimed="" if counted is None else CUSTODIES[counted.claimed],
        interval_s=0 if identity is None else identity.enrolment.interval_s,
        seen_ms=one.seen_ms,
        records=sum(piece.size - piece.began for piece in one.pieces),
        backlog=backlog_of(one, validators),
        gaps=gaps_of(one.pieces),
        parked=one.parked,
        skew=skew_of(one.clocks),
        counter=counter,
        counter_left=left,
        suspect=one.suspect,
        suspect_ms=one.suspect_ms,
        valid_until_s=0 if identity is None else identity.enrolment.validity[1],
        hold=one.hold,
    )


def tag_of(details: dict[str, Any]) -> str | None:
    """The asset tag that the fleet signed, or what else is a name there."""
    for name in ("asset_tag", "name", "serial"):
        value = details.get(name)
        if isinstance(value, str) and value:
            return pagewords.shown(value, pagelimits.TAG_CHARS_MAX)
    return None
