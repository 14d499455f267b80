"""What receives a batch at least: HTTP, an append that is synced, a signature. Nothing is checked.

    python -m tallystick.tools.bench.bare_receiver PORT FILE

The stack of a validator, so that only its work is missing. It runs until SIGTERM.
"""

import os
import sys
from io import FileIO
from pathlib import Path
from typing import Any

import uvicorn
from nacl.signing import SigningKey
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tallystick.evidence.digest import sha256
from tallystick.validator.limits import KEEP_ALIVE_S


def app(file: FileIO) -> Starlette:
    """POST /v1/batches, and GET /readyz."""
    signer = SigningKey.generate()

    def take(body: bytes) -> bytes:
        file.write(body)
        os.fsync(file.fileno())
        return bytes(signer.sign(sha256(body)))

    async def batches(request: Request) -> Response:
        return Response(await run_in_threadpool(take, await request.body()))

    async def ready(_: Request) -> Response:
        return Response()

    return Starlette(
        routes=[
            Route("/v1/batches", batches, methods=["POST"]),
            Route("/readyz", ready),
        ]
    )


def main(port: str, path: str) -> None:
    """Serve until SIGTERM."""
    settings: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off"}
    with Path(path).open("ab", 0) as file:
        uvicorn.run(
            app(file),
            host="127.0.0.1",
            port=int(port),
            http="h11",
            timeout_keep_alive=KEEP_ALIVE_S,
            **settings,
        )


if __name__ == "__main__":
    main(*sys.argv[1:3])
