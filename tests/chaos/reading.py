"""What is on disk when all is over, read by plain SQL and the wire's parsers; no store's class.

Also the journals of devices, by docs/recorder.md ("The journal") alone.
"""

import hashlib
import sqlite3
import zlib
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from chaos.parts import Wrong
from chaos.trees import Frontier, leaf
from tallystick.evidence import cbor, checkpoint, entry, gatewaylog, genesis, segment, verdict

Log = tuple[bytes, bytes]  # device, epoch
TIME, LOGGED_CLAIM, CLOSING = 17, 18, 19


class Item(NamedTuple):
    """A record, or a hash in its place: of one leaf (level 0) or of a subtree."""

    first: int
    level: int
    hash: bytes
    record: bytes | None

    @property
    def to(self) -> int:
        """The index after it."""
        return self.first + (1 << self.level)


@dataclass
class Held:
    """What one store has of devices' logs."""

    name: str
    items: dict[Log, list[Item]] = field(default_factory=dict)

    def records(self, log: Log) -> dict[int, bytes]:
        """By index, in order."""
        return {
            item.first: item.record for item in self.items.get(log, ()) if item.record is not None
        }


@dataclass
class Notary(Held):
    """A validator's store."""

    statements: list[bytes | None] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    heads: dict[int, bytes] = field(default_factory=dict)
    # As its tables of devices say: begin, size, and how many indexes are covered.
    logs: dict[Log, tuple[int, int, int]] = field(default_factory=dict)
    decisions: dict[bytes, int] = field(default_factory=dict)
    claims: list[tuple[bytes, bytes, int]] = field(default_factory=list)
    states: dict[bytes, tuple[str, Any]] = field(default_factory=dict)
    gateway_heads: list[tuple[bytes, int, bytes]] = field(default_factory=list)
    # The log time of each entry, the closings with their entries, and the times of its heads.
    times_ms: list[int] = field(default_factory=list)
    closings: list[tuple[int, entry.Closing]] = field(default_factory=list)
    heads_ms: list[int] = field(default_factory=list)


@dataclass
class Gateway(Held):
    """A gateway's store."""

    leaves: list[bytes] = field(default_factory=list)
    # What devices signed, as it has it: log, size, root.
    heads: set[tuple[Log, int, bytes]] = field(default_factory=set)
    # By validator: statement and receipt.
    receipts: list[tuple[str, bytes, bytes]] = field(default_factory=list)


@dataclass
class Journal:
    """A device's own: its log's last checkpoint, its newest custody, and what it still has."""

    device: bytes
    epoch: bytes
    size: int
    root: bytes
    custody: int
    records: dict[int, bytes]


def _opened(name: str, path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    try:
        (said,) = connection.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        raise Wrong(f"{name}: its store does not open: {error}") from error
    if said != "ok":
        connection.close()
        raise Wrong(f"{name}: its store is damaged: {said}")
    return connection


def _nobody(connection: sqlite3.Connection, name: str, queries: Iterable[str]) -> None:
    for query in queries:
        row = connection.execute(query).fetchone()
        if row is not None:
            raise Wrong(f"{name}: somebody honest is blamed: {query}: {row!r}")


# --- devices' logs in stores ---------------------------------------------------------------


def _salt(seed: bytes, index: int) -> bytes:
    pair = hashlib.sha256(seed + (index >> 1).to_bytes(8, "big")).digest()
    return pair[16:] if index & 1 else pair[:16]


def _items(stretch: segment.Stretch) -> list[Item]:
    at, nth, found = stretch.first, 0, []
    secret: Any = stretch.secret
    for given in stretch.items:
        if isinstance(given, bytes):
            salt = _salt(secret, at) if isinstance(secret, bytes) else secret[nth]
            found.append(Item(at, 0, leaf(salt + given), given))
            nth += 1
        else:
            found.append(Item(at, given[0], given[1], None))
        at = found[-1].to
    return found


def _take(held: Held, log: Log, rows: Iterable[tuple[int, int, bytes]]) -> list[segment.Stretch]:
    """Rows of first, end and bytes, in their order; Wrong where two of them overlap."""
    known = held.items.setdefault(log, [])
    found: list[segment.Stretch] = []
    for first, to, data in rows:
        stretches = segment.parse(data).stretches
        items = [item for stretch in stretches for item in _items(stretch)]
        if (items[0].first if items else first, items[-1].to if items else first) != (first, to):
            raise Wrong(f"{held.name}: a row from {first} to {to} has other indexes")
        if items and known and items[0].first < known[-1].to:
            raise Wrong(f"{held.name}: index {items[0].first} of {_text(log)} is there twice")
        known += items
        found += stretches
    return found


def _text(log: Log) -> str:
    return f"{log[0].hex()[:12]}/{log[1].hex()}"


# --- stores --------------------------------------------------------------------------------


def read_notary(name: str, path: Path) -> Notary:
    """A validator's store, which no process has open."""
    found = Notary(name)
    with closing(_opened(name, path)) as connection:
        _read_entries(connection, found)
        found.decisions = dict(connection.execute("SELECT id, decisions FROM identities"))
        for number, *log, began, size, covered in connection.execute(
            "SELECT log, device, epoch, began, size, covered FROM logs"
        ).fetchall():
            key = log[0], log[1]
            found.logs[key] = began, size, covered
            rows = connection.execute(
                'SELECT first, "to", items FROM stretches WHERE log = ? ORDER BY first', (number,)
            )
            _take(found, key, rows.fetchall())
        _nobody(
            connection,
            name,
            (
                "SELECT id, suspect FROM identities WHERE suspect IS NOT NULL",
                "SELECT device, reason FROM forks",
                "SELECT gateway FROM gateway_logs WHERE forks != 0",
                "SELECT at, reason FROM refused_records",
                "SELECT id FROM identities WHERE refused != 0",
                "SELECT origin FROM split_views",
            ),
        )
        found.gateway_heads = connection.execute(
            "SELECT gateway, size, root FROM gateway_heads"
        ).fetchall()
    return found


def _read_entries(connection: sqlite3.Connection, found: Notary) -> None:
    data_of: list[bytes] = []
    rows = connection.execute("SELECT entry, kind, digest, leaf, data FROM entries ORDER BY entry")
    for at, (number, kind, digest, told, data) in enumerate(rows):
        if number != at:
            raise Wrong(f"{found.name}: its log has no entry {at}")
        if leaf(data) != told:
            raise Wrong(f"{found.name}: entry {at} is not its leaf")
        data_of.append(data)
        found.statements.append(digest)
        found.leaves.append(told)
        made = entry.parse_entry(data) if kind in {TIME, LOGGED_CLAIM, CLOSING} else None
        if isinstance(made, entry.LoggedClaim):
            found.claims.append((made.device, made.epoch, made.index))
        elif isinstance(made, entry.Closing):
            found.closings.append((number, made))
        elif not number:
            found.times_ms.append(genesis.parse(data).time_ms)
            continue
        time_ms = made.time_ms if isinstance(made, entry.TimeEntry) else found.times_ms[-1]
        found.times_ms.append(time_ms)
    found.heads = dict(connection.execute("SELECT size, root FROM heads"))
    found.heads_ms = [time for (time,) in connection.execute("SELECT time_ms FROM heads")]
    for interaction, state, signed in connection.execute(
        "SELECT interaction, state, verdict_entry FROM party_sets"
    ):
        finding = None if signed is None else verdict.parse(data_of[signed]).finding
        found.states[interaction] = state, finding


def read_gateway(name: str, path: Path) -> Gateway:
    """A gateway's store, which no process has open."""
    found = Gateway(name)
    with closing(_opened(name, path)) as connection:
        _nobody(
            connection,
            name,
            (
                "SELECT device, suspect FROM devices WHERE suspect IS NOT NULL",
                "SELECT device FROM forks",
                "SELECT at, reason FROM set_aside",
                "SELECT at FROM damaged",
                "SELECT message FROM poison",
            ),
        )
        rows = connection.execute("SELECT at, crc, data FROM segments ORDER BY at")
        for place, (at, crc, data) in enumerate(rows):
            if at != place:
                raise Wrong(f"{name}: its log has no place {place}")
            if zlib.crc32(data) != crc:
                raise Wrong(f"{name}: what it has at {at} is not what it took")
            found.leaves.append(gatewaylog.leaf_of(segment.parse(data)).leaf_hash())
        logs = connection.execute("SELECT DISTINCT device, epoch FROM tracks").fetchall()
        for log in logs:
            rows = connection.execute(
                "SELECT first, until, data FROM segments JOIN tracks USING (track) "
                "WHERE device = ? AND epoch = ? ORDER BY first, until, at",
                log,
            )
            for stretch in _take(found, log, rows.fetchall()):
                head = checkpoint.parse(stretch.checkpoint)
                found.heads.add((log, head.size, head.root))
        found.receipts = connection.execute(
            "SELECT validator, statement, receipt FROM receipts"
        ).fetchall()
    return found


# --- journals ------------------------------------------------------------------------------


def _frames(name: str, data: bytes) -> "Iterable[tuple[bytes, bool, bytes]]":
    """Check, whether it is a record, and content."""
    at = 0
    while at < len(data):
        check, head = data[at : at + 4], data[at + 4]
        at += 5
        major, size = head >> 5, head & 31
        if size >= 24:
            width = 1 << size - 24
            size = int.from_bytes(data[at : at + width], "big")
            at += width
        content = data[at : at + size]
        at += size
        if major not in {2, 3} or at > len(data):
            raise Wrong(f"{name}: a frame of the journal is torn")
        yield check, major == 2, content


class _File:
    """One file of a journal on its way."""

    def __init__(self, name: str, records: dict[int, bytes]) -> None:
        self.name = name
        self.records = records
        self.frontier = Frontier()
        self.seed = b""
        self.device = self.epoch = b""
        self.signed: tuple[int, bytes] = (0, b"")
        self.payload = self.signed
        self.custody = 0
        self._kinds: dict[int, Callable[[list[Any]], None]] = {
            0: self._header,
            1: lambda values: setattr(self, "seed", values[2]),
            2: self._payload,
            3: lambda _: setattr(self, "signed", self.payload),
            4: lambda values: setattr(self, "custody", values[1]),
            9: lambda values: self.frontier.push(0, values[1]),
            10: lambda values: self.frontier.push(values[1], values[2]),
        }

    def record(self, check: bytes, record: bytes) -> None:
        """Its leaf hash begins with its check."""
        at = self.frontier.size
        found = leaf(_salt(self.seed, at) + record)
        if found[:4] != check:
            raise Wrong(f"{self.name}: the record at {at} is not what was written")
        self.records[at] = record
        self.frontier.push(0, found)

    def control(self, check: bytes, content: bytes) -> None:
        """All other frames."""
        if hashlib.sha256(content).digest()[:4] != check:
            raise Wrong(f"{self.name}: a frame is not what was written")
        values = cbor.decode(content)
        if values[0] in self._kinds:
            self._kinds[values[0]](values)

    def _header(self, values: list[Any]) -> None:
        self.device, self.epoch = values[2:4]
        self.frontier = Frontier(values[4], values[5])
        self.custody = values[11][0] if values[11] else 0
        if self.frontier.size:
            # It begins at a payload, whose signature may come in this file.
            self.signed = self.payload = self.frontier.size, self.frontier.root()

    def _payload(self, values: list[Any]) -> None:
        size, root = cbor.decode(values[2])[2:4]
        if (size, root) != (self.frontier.size, self.frontier.root()):
            raise Wrong(f"{self.name}: a checkpoint of size {size} is not over its records")
        self.payload = size, root


def read_journal(folder: Path) -> Journal:
    """A journal that its recorder closed: every frame of every file."""
    names = sorted(folder.glob("*-*-*.tally"))
    if not names:
        raise Wrong(f"{folder}: there is no journal")
    records: dict[int, bytes] = {}
    for path in names:
        name = f"{folder.parent.name}/{path.name}"
        file = _File(name, records)
        for check, is_record, content in _frames(name, path.read_bytes()):
            (file.record if is_record else file.control)(check, content)
    return Journal(file.device, file.epoch, *file.signed, file.custody, records)
