"""A validator of the bare path: takes a message, answers, says what it found to who listens.

    python -m tallystick.tools.bench.urgent_server PORT STORE

The same hops, syncs and signatures as our validator's way from a batch of one claim to the verdict,
with the same parts: Starlette, uvicorn, a store with the same COMMIT, libsodium. Five signatures
are verified; a COMMIT, two signatures and a COMMIT come before the answer; a signature, a COMMIT,
two signatures and a COMMIT before what is told as a server-sent event. Nothing is logged, found or
looked up. STORE is a file, or a PostgreSQL URL. It runs until SIGTERM.
"""

import asyncio
import json
import queue
import sys
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import uvicorn
from nacl.signing import SigningKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tallystick.tools.bench.peer_validator import SEED, PostgresRows, Rows, SqliteRows
from tallystick.validator.limits import KEEP_ALIVE_S

VERIFIED = 5
# As long as the JSON of one of our verdicts with its receipt.
VERDICT_CHARS = 1_200
STATEMENT = bytes(range(256)) * 2


class Server:
    """One writer, as ours is; whoever listens is told by the loop."""

    def __init__(self, rows: Rows) -> None:
        self._key = SigningKey(SEED)
        self._rows = rows
        self._jobs: queue.Queue[tuple[bytes, Future[bytes]]] = queue.Queue()
        self._listening: list[tuple[asyncio.AbstractEventLoop, asyncio.Queue[bytes]]] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            body, future = self._jobs.get()
            logged_s = time.time()
            told = json.loads(self._verify(body))
            self._add(body)
            self._publish()
            future.set_result(STATEMENT)
            judged_s = time.time()
            verdict = self._key.sign(STATEMENT)
            self._add(bytes(verdict))
            self._publish()
            found = {**told, "logged_s": logged_s, "judged_s": judged_s, "pad": "-" * VERDICT_CHARS}
            event = b"event: verdict\ndata: " + json.dumps(found).encode() + b"\n\n"
            for loop, events in self._listening:
                loop.call_soon_threadsafe(events.put_nowait, event)

    def _verify(self, body: bytes) -> bytes:
        for _ in range(VERIFIED - 1):
            self._key.verify_key.verify(body)
        return self._key.verify_key.verify(body)[64 + 128 + 512 :]

    def _add(self, data: bytes) -> None:
        self._rows.add(data, [])

    def _publish(self) -> None:
        signed = bytes(self._key.sign(STATEMENT[:64])) + bytes(self._key.sign(STATEMENT[:128]))
        self._add(signed)

    # --- its doors ----------------------------------------------------------------------------

    async def take(self, request: Request) -> Response:
        """POST /take."""
        future: Future[bytes] = Future()
        self._jobs.put((await request.body(), future))
        return Response(await asyncio.wrap_future(future))

    async def events(self, _: Request) -> Response:
        """GET /events."""
        events: asyncio.Queue[bytes] = asyncio.Queue()
        self._listening.append((asyncio.get_running_loop(), events))

        async def stream() -> AsyncIterator[bytes]:
            yield b"retry: 2000\n\n"
            while True:
                yield await events.get()

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def ready(self, _: Request) -> Response:
        """GET /readyz."""
        return Response()

    def app(self) -> Starlette:
        """All three."""
        return Starlette(
            routes=[
                Route("/take", self.take, methods=["POST"]),
                Route("/events", self.events),
                Route("/readyz", self.ready),
            ]
        )


def main(port: str, store: str) -> None:
    """Serve until SIGTERM."""
    rows: Rows = PostgresRows(store) if "://" in store else SqliteRows(Path(store))
    settings: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off"}
    uvicorn.run(
        Server(rows).app(),
        host="127.0.0.1",
        port=int(port),
        http="h11",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
        **settings,
    )


if __name__ == "__main__":
    main(*sys.argv[1:3])
