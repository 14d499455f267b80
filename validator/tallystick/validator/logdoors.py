"""The doors of the log: tiles, checkpoints, witnessing (docs/protocol.md, 8.3 and 8.4)."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol, TypeVar

import anyio.to_thread
import msgspec
from sqlalchemy.engine import Connection
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tallystick.evidence.errors import Malformed
from tallystick.validator import body, cosigned, routes, tileserving, witness
from tallystick.validator.limits import BUNDLE_ENTRIES_READ
from tallystick.validator.queries import missing
from tallystick.validator.witness import Stale, Witness
from tallystick.verify import tiles
from tallystick.verify.addcheckpoint import REQUEST_BYTES_MAX, SIZE_MEDIA
from tallystick.verify.tiles import Tile

T = TypeVar("T")
FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}
NOT_KEPT = {"Cache-Control": "no-store"}
_GZIP = 16  # zlib: a gzip header and trailer


class Asks(Protocol):
    """Runs a query on a snapshot of the store, in a thread."""

    def __call__(self, query: Callable[[Connection], T]) -> Awaitable[T]:
        """What the query gives."""


class LogDoors:
    """Handlers that the application mixes in; `ask` reads the store."""

    def __init__(self, ask: Asks, witness_: Witness) -> None:
        self._reads = ask
        self._witness = witness_

    async def checkpoint(self, _: Request) -> Response:
        """GET /v1/checkpoint."""
        text = await self._reads(cosigned.newest_text)
        return Response(text, media_type="text/plain", headers=NOT_KEPT)

    async def log_checkpoint(self, _: Request) -> Response:
        """GET /checkpoint."""
        text = await self._reads(cosigned.best_text)
        return Response(text, media_type="text/plain", headers=NOT_KEPT)

    async def tile(self, request: Request) -> Response:
        """GET /tile/{tile}."""
        try:
            tile = tiles.parse_path("tile/" + request.path_params["tile"])
        except Malformed as error:
            # To a client of tiles a path that names none is one that is not there.
            raise missing("tile") from error
        await self._reads(partial(tileserving.check, tile=tile))
        if tile.level is not None:
            data = await self._reads(partial(tileserving.hashes, tile=tile))
            return Response(data, media_type=routes.OCTETS, headers=FOR_EVER)
        # Entries may be 64 KiB each: a bundle is read, and compressed, as it is sent.
        headers = {**FOR_EVER, "Vary": "Accept-Encoding"}
        parts = self._parts(tile)
        if _takes_gzip(request):
            headers["Content-Encoding"] = "gzip"
            parts = _compressed(parts)
        else:
            size = await self._reads(partial(tileserving.bundle_size, tile=tile))
            headers["Content-Length"] = str(size)
        return StreamingResponse(parts, media_type=routes.OCTETS, headers=headers)

    async def _parts(self, tile: Tile) -> AsyncIterator[bytes]:
        for at in range(0, tile.width, BUNDLE_ENTRIES_READ):
            count = min(BUNDLE_ENTRIES_READ, tile.width - at)
            part = partial(tileserving.bundle_part, first=tile.first + at, count=count)
            yield await self._reads(part)

    async def add_checkpoint(self, request: Request) -> Response:
        """POST /add-checkpoint."""
        data = await body.read_any(request, REQUEST_BYTES_MAX)
        try:
            line: Any = await anyio.to_thread.run_sync(self._witness.add, data)
            if isinstance(line, Future):
                line = await asyncio.wrap_future(line)
        except Stale as stale:
            text = f"{stale.cosigned}\n"
            # A header of our own: Starlette would add a charset, and clients compare the whole.
            headers = {**NOT_KEPT, "Content-Type": SIZE_MEDIA}
            return Response(text, status_code=409, headers=headers)
        return Response(line, media_type="text/plain", headers=NOT_KEPT)

    async def witnessed(self, _: Request) -> Response:
        """GET /v1/witnessed."""
        found = await self._reads(witness.witnessed)
        return Response(msgspec.json.encode(found), media_type=routes.JSON, headers=NOT_KEPT)


def _takes_gzip(request: Request) -> bool:
    """Whether the client names gzip, and not to refuse it (RFC 9110, section 12.5.3)."""
    for item in request.headers.get("accept-encoding", "").split(","):
        name, _, quality = item.replace(" ", "").partition(";q=")
        if name.lower() == "gzip":
            return quality.strip("0.") != "" or not quality
    return False


async def _compressed(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | _GZIP)
    async for part in parts:
        if data := await anyio.to_thread.run_sync(packer.compress, part):
            yield data
    yield packer.flush()
