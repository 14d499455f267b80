"""What the checker must find, done to copies of stores."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tallystick.evidence import segment

Change = Callable[[sqlite3.Connection], object]


def changed(store: Path, folder: Path, change: Change) -> Path:
    """A copy of a store in which something was done."""
    path = Path(shutil.copy(store, folder / store.name))
    with closing(sqlite3.connect(path)) as connection, connection:
        change(connection)
    return path


def a_stretch(connection: sqlite3.Connection) -> tuple[int, int, int, bytes]:
    """Log, begin, end and bytes of a stretch of several decisions, with others on both sides."""
    rows = connection.execute(
        'SELECT log, first, "to", items FROM stretches WHERE first > 0 AND records = "to" - first '
        'AND "to" < (SELECT size FROM logs WHERE logs.log = stretches.log) ORDER BY log, first'
    )
    for row in rows:
        items = segment.parse(row[3]).stretches[0].items
        if len([item for item in items if item[1] == 0]) > 1:
            found: tuple[int, int, int, bytes] = row
            return found
    message = "no such stretch"
    raise AssertionError(message)


def rewritten(
    data: bytes, change: Callable[[list[object]], list[object]], first: int = -1
) -> bytes:
    """A segment with other items, or from another index on."""
    old = segment.parse(data)
    (stretch,) = old.stretches
    items = change(list(stretch.items))
    secret = stretch.secret if any(isinstance(item, bytes) for item in items) else None
    made = segment.Stretch(items, secret, stretch.checkpoint)  # type: ignore[arg-type]  # items
    at = old.first if first < 0 else first
    return segment.Segment(
        old.device, old.epoch, at, old.edge if at == old.first else None, [made]
    ).encode()


def take_out(connection: sqlite3.Connection) -> None:
    log, first, _, _ = a_stretch(connection)
    connection.execute("DELETE FROM stretches WHERE log = ? AND first = ?", (log, first))


def take_out_the_end(connection: sqlite3.Connection) -> None:
    log, first, _, _ = a_stretch(connection)
    connection.execute("DELETE FROM stretches WHERE log = ? AND first >= ?", (log, first))
    connection.execute("UPDATE logs SET size = ?, covered = ? WHERE log = ?", (first, first, log))


def hide_a_gap(connection: sqlite3.Connection) -> None:
    log, first, _, data = a_stretch(connection)
    hidden = rewritten(data, lambda items: [(0, bytes([at]) * 32) for at in range(len(items))])
    connection.execute(
        "UPDATE stretches SET items = ? WHERE log = ? AND first = ?", (hidden, log, first)
    )


def put_twice(connection: sqlite3.Connection) -> None:
    log, first, _, data = a_stretch(connection)
    again = rewritten(data, lambda items: items, first + 1)
    connection.execute(
        'INSERT INTO stretches SELECT log, first + 1, "to" + 1, edge, ?, checkpoint, records '
        "FROM stretches WHERE log = ? AND first = ?",
        (again, log, first),
    )


def put_twice_at_the_end(connection: sqlite3.Connection) -> None:
    log, first, to, data = a_stretch(connection)
    (size,) = connection.execute("SELECT size FROM logs WHERE log = ?", (log,)).fetchone()
    again = rewritten(data, lambda items: items, size)
    connection.execute(
        "INSERT INTO stretches SELECT log, ?, ?, edge, ?, checkpoint, records "
        "FROM stretches WHERE log = ? AND first = ?",
        (size, size + to - first, again, log, first),
    )
    connection.execute(
        "UPDATE logs SET size = size + ?1, covered = covered + ?1 WHERE log = ?2", (to - first, log)
    )


def swap_records(connection: sqlite3.Connection) -> None:
    log, first, _, data = a_stretch(connection)
    swapped = rewritten(data, lambda items: items[::-1])
    connection.execute(
        "UPDATE stretches SET items = ? WHERE log = ? AND first = ?", (swapped, log, first)
    )


def swap_entries(connection: sqlite3.Connection) -> None:
    """Two checkpoints of devices change places in the log."""
    rows = connection.execute("SELECT entry FROM entries WHERE kind = 4 ORDER BY entry LIMIT 2")
    (one,), (other,) = rows.fetchall()
    for entry, to in ((one, -1), (other, one), (-1, other)):
        connection.execute("UPDATE entries SET entry = ? WHERE entry = ?", (to, entry))


def shrink(connection: sqlite3.Connection) -> None:
    """Back to half of its checkpoints, with all that points beyond."""
    sizes = [size for (size,) in connection.execute("SELECT size FROM heads ORDER BY size")]
    size = sizes[len(sizes) // 2]
    connection.execute("DELETE FROM heads WHERE size > ?", (size,))
    connection.execute("DELETE FROM entries WHERE entry >= ?", (size,))
    connection.execute(
        "UPDATE party_sets SET verdict_entry = NULL WHERE verdict_entry >= ?", (size,)
    )


def copy_a_segment(connection: sqlite3.Connection) -> None:
    connection.execute(
        "INSERT INTO segments SELECT (SELECT max(at) + 1 FROM segments), track, first, until, root,"
        " checkpoint, edge, named, tail, crc, records, time_ms, data FROM segments "
        "WHERE at = (SELECT min(at) FROM segments WHERE until > first)"
    )


def swap_segments(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE segments SET at = -1 WHERE at = 10")
    connection.execute("UPDATE segments SET at = 10 WHERE at = 11")
    connection.execute("UPDATE segments SET at = 11 WHERE at = -1")


def flip(connection: sqlite3.Connection) -> None:
    (data,) = connection.execute("SELECT data FROM segments WHERE at = 5").fetchone()
    spoilt = data[:60] + bytes([data[60] ^ 1]) + data[61:]
    connection.execute("UPDATE segments SET data = ? WHERE at = 5", (spoilt,))


def take_out_a_device(connection: sqlite3.Connection) -> None:
    """The last that it took, as if it had never come."""
    (at,) = connection.execute("SELECT max(at) FROM segments WHERE until > first").fetchone()
    connection.execute("DELETE FROM segments WHERE at >= ?", (at,))


def exchange_a_receipt(connection: sqlite3.Connection) -> None:
    """One that a validator gave for another statement."""
    connection.execute(
        "UPDATE receipts SET statement = x'00' WHERE validator = 'notary-1' AND statement = "
        "(SELECT min(statement) FROM receipts WHERE validator = 'notary-1')"
    )
