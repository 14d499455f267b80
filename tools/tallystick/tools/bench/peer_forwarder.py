"""A gateway that forwards records, each with its own signature: the peers' side of `bench forward`.

    python -m tallystick.tools.bench.peer_forwarder STORE URL

The same way out as ours: messages from SQLite in order, batches by bytes, zstd, HTTP, and a cursor
that moves with the answer in a COMMIT with FULL. Prints the seconds from the first request to the
last COMMIT.
"""

import json
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cbor2

from tallystick.gateway.http import Http
from tallystick.gateway.limits import BATCH_BYTES, BATCH_SEGMENTS
from tallystick.gateway.packing import compress
from tallystick.tools.bench.sending import HEADERS


def fill(path: Path, messages: Iterable[bytes]) -> None:
    """Make a store that holds these messages, as peer_gateway.py does, and a cursor."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("BEGIN")
    database.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, body BLOB)")
    database.execute("CREATE TABLE validators (name TEXT PRIMARY KEY, cursor INTEGER)")
    database.execute("INSERT INTO validators VALUES ('notary', 0)")
    database.executemany("INSERT INTO messages (body) VALUES (?)", ((one,) for one in messages))
    database.execute("COMMIT")
    database.close()


def batches(database: sqlite3.Connection) -> Iterator[tuple[int, bytes]]:
    """(the last message's id, the batch), closed where ours is."""
    records: list[Any] = []
    size = count = last = 0
    for number, body in database.execute("SELECT id, body FROM messages ORDER BY id"):
        if records and (size + len(body) > BATCH_BYTES or count >= BATCH_SEGMENTS):
            yield last, cbor2.dumps(records)
            records, size, count = [], 0, 0
        records += cbor2.loads(body)
        last, size, count = number, size + len(body), count + 1
    if records:
        yield last, cbor2.dumps(records)


def main(store: str, url: str) -> None:
    """Send everything once."""
    database = sqlite3.connect(store, isolation_level=None)
    database.execute("PRAGMA synchronous=FULL")
    reader = sqlite3.connect(store, isolation_level=None)
    http = Http(url)
    start = time.perf_counter()
    for last, batch in batches(reader):
        http.post("/v1/batches", compress(batch), HEADERS)
        database.execute("UPDATE validators SET cursor = ?", (last,))
    taken = time.perf_counter() - start
    http.close()
    reader.close()
    database.close()
    print(json.dumps({"seconds": taken}))  # noqa: T201 - its output


if __name__ == "__main__":
    main(*sys.argv[1:3])
