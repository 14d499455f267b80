"""What a device sent before one of its segments, as far as a validator lacks it.

A backlog may hold millions of rows of one device, and this is asked at every other batch: so the
beginning is searched for, and no more is read than a batch or a few could bring.
"""

import sqlite3
from collections.abc import Callable

from tallystick.gateway import limits

Has = Callable[[int], bool]  # whether the validator has the segment at a place


def way_to(reader: sqlite3.Connection, at: int, has: Has) -> list[int]:
    """Places that the validator lacks, up to `at`: the first ones, in the log's order.

    The longest of its kind says no more than that it is long (URGENT_WAY_MAX of each track).
    """
    row = reader.execute(
        "SELECT t.device, s.track, s.until FROM segments s JOIN tracks t USING (track) "
        "WHERE s.at = ?",
        (at,),
    ).fetchone()
    if row is None:
        return []
    device, own, until = row
    found = []
    tracks = reader.execute("SELECT track FROM tracks WHERE device = ?", (device,)).fetchall()
    for (track,) in tracks:
        end = until if track == own else _newest(reader, track, has)
        if end is not None:
            found += _lacking(reader, track, end, has)
    return [place for place in sorted(found) if place <= at]


def _newest(reader: sqlite3.Connection, track: int, has: Has) -> int | None:
    # Where a track ends; None where the validator has it all.
    row = reader.execute(
        "SELECT until, at FROM segments WHERE track = ? ORDER BY until DESC LIMIT 1", (track,)
    ).fetchone()
    return None if row is None or has(row[1]) else int(row[0])


def _lacking(reader: sqlite3.Connection, track: int, end: int, has: Has) -> list[int]:
    # A track's segments come in order, so what the validator has is its beginning. Where a hole
    # was filled later that is not so: then some are left out, are not taken, and go in their order.
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        until, at = reader.execute(
            "SELECT until, at FROM segments WHERE track = ? AND until >= ? ORDER BY until LIMIT 1",
            (track, middle),
        ).fetchone()
        if has(at):
            low = until + 1
        else:
            high = middle
    rows = reader.execute(
        "SELECT at FROM segments WHERE track = ? AND until BETWEEN ? AND ? ORDER BY until LIMIT ?",
        (track, low, end, limits.URGENT_WAY_MAX),
    )
    return [at for (at,) in rows if not has(at)]
