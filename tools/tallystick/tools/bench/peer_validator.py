"""A validator that checks one signature on each record: the peers' side of `tally bench validate`.

    python -m tallystick.tools.bench.peer_validator NAME PORT STORE

The same path as ours, with the same parts: Starlette under uvicorn, zstd, one writer, a COMMIT with
FULL for each batch in the same kind of store, claims decoded and stored, a Merkle log with a leaf
for each of them and a signed head, which is the receipt. Only the evidence differs. STORE is a
file, or a PostgreSQL URL. It runs in a process of its own, as ours does, until SIGTERM.
"""

import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any, Protocol

import cbor2
import uvicorn
import zstandard
from nacl.signing import SigningKey
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tallystick.evidence import claim
from tallystick.evidence.kinds import CLAIM
from tallystick.evidence.limits import BATCH_BYTES_MAX
from tallystick.evidence.tree import Tree, leaf_hash
from tallystick.tools.bench.peers import Peer, checked
from tallystick.validator.limits import KEEP_ALIVE_S

SEED = bytes(range(32))
BATCH_BYTES_TIMES_MAX = 8  # an agent-receipts receipt is five times its record
Row = tuple[bytes, str, str, str]


class Rows(Protocol):
    """Where batches and claims are kept."""

    def add(self, body: bytes, claims: list[Row]) -> None:
        """One batch; durable when it returns."""


class SqliteRows:
    """In an SQLite file, as ours is: WAL, `synchronous=FULL`."""

    def __init__(self, path: Path) -> None:
        self.database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.execute("PRAGMA synchronous=FULL")
        self.database.execute("CREATE TABLE batches (id INTEGER PRIMARY KEY, body BLOB)")
        self.database.execute(
            "CREATE TABLE claims (leaf BLOB PRIMARY KEY, namespace, interaction, role)"
        )

    def add(self, body: bytes, claims: list[Row]) -> None:
        """BEGIN, the rows, COMMIT."""
        self.database.execute("BEGIN IMMEDIATE")
        self.database.execute("INSERT INTO batches (body) VALUES (?)", (body,))
        self.database.executemany("INSERT INTO claims VALUES (?, ?, ?, ?)", claims)
        self.database.execute("COMMIT")


class PostgresRows:
    """In a PostgreSQL database."""

    def __init__(self, url: str) -> None:
        import psycopg  # noqa: PLC0415 - an extra of its own

        self._connection = psycopg.connect(url.replace("postgresql+psycopg:", "postgresql:"))
        self._connection.execute("CREATE TABLE batches (id BIGSERIAL PRIMARY KEY, body BYTEA)")
        self._connection.execute(
            "CREATE TABLE claims (leaf BYTEA PRIMARY KEY, namespace TEXT, interaction TEXT, "
            "role TEXT)"
        )
        self._connection.commit()

    def add(self, body: bytes, claims: list[Row]) -> None:
        """The rows and COMMIT."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute("INSERT INTO batches (body) VALUES (%s)", (body,))
            cursor.executemany("INSERT INTO claims VALUES (%s, %s, %s, %s)", claims)


class PeerValidator:
    """Batches of signed records in, signed heads out."""

    def __init__(self, peer: Peer, rows: Rows) -> None:
        self._peer = peer
        self._rows = rows
        self._writer = threading.Lock()
        self._signer = SigningKey(SEED)
        self._tree = Tree()

    def take(self, compressed: bytes) -> bytes:
        """Verify each record, decode the claims, COMMIT, log, sign the head."""
        with self._writer:
            unpacked = zstandard.ZstdDecompressor().decompress(
                compressed, max_output_size=BATCH_BYTES_TIMES_MAX * BATCH_BYTES_MAX
            )
            found: list[Row] = []
            for signed in cbor2.loads(unpacked):
                record = self._peer.verify(signed)
                if record[1] == CLAIM:
                    made = claim.parse(record)
                    task = made.interaction
                    name = task if isinstance(task, str) else task.hex()
                    found.append((leaf_hash(record), made.namespace, name, made.role))
            self._rows.add(unpacked, found)
            for row in found:
                self._tree.push(row[0])
            head = self._tree.root() + self._tree.size.to_bytes(8, "big")
            return bytes(self._signer.sign(head))


def app(validator: PeerValidator) -> Starlette:
    """POST /v1/batches, and GET /readyz."""

    async def batches(request: Request) -> Response:
        body = await request.body()
        return Response(await run_in_threadpool(validator.take, body))

    async def ready(_: Request) -> Response:
        return Response()

    return Starlette(
        routes=[
            Route("/v1/batches", batches, methods=["POST"]),
            Route("/readyz", ready),
        ]
    )


def main(name: str, port: str, store: str) -> None:
    """Serve until SIGTERM."""
    rows: Rows = PostgresRows(store) if "://" in store else SqliteRows(Path(store))
    settings: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off"}
    uvicorn.run(
        app(PeerValidator(checked(name, SEED), rows)),
        host="127.0.0.1",
        port=int(port),
        http="h11",
        timeout_keep_alive=KEEP_ALIVE_S,
        **settings,
    )


if __name__ == "__main__":
    main(*sys.argv[1:4])
