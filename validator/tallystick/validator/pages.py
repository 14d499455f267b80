"""The page for people: three static files, and what they ask for (docs/operations.md).

It is read-only, loads nothing from elsewhere, and puts what the log says on the screen as text.
"""

from collections.abc import Callable
from functools import partial
from importlib import resources
from typing import Protocol

import msgspec
from sqlalchemy.engine import Connection
from starlette.requests import Request
from starlette.responses import Response

from tallystick.hw.httpdoor import PAGE_HEADERS
from tallystick.validator import pagereads, params, routes
from tallystick.validator.access import Scope
from tallystick.validator.feed import Asks
from tallystick.validator.problem import Problem

HEADERS = PAGE_HEADERS | {"Cache-Control": "no-cache"}


class Sees(Protocol):
    """What a caller may read; for open pages."""

    def __call__(self, request: Request) -> Scope:
        """The scope, an empty one for anybody."""


class PageDoor:
    """Handlers of the application."""

    _page_reads: Asks
    _page_sees: Sees
    _page_scope: Sees

    async def page(self, _: Request) -> Response:
        """GET /."""
        return _static("index.html", routes.HTML)

    async def page_script(self, _: Request) -> Response:
        """GET /ui/app.js."""
        return _static("app.js", routes.SCRIPT)

    async def page_style(self, _: Request) -> Response:
        """GET /ui/style.css."""
        return _static("style.css", routes.STYLE)

    async def findings(self, request: Request) -> Response:
        """GET /v1/interactions/{namespace}/{id}/findings."""
        namespace, id_ = params.interaction(request)
        scope = self._page_sees(request)
        return await self._shown(
            partial(pagereads.findings, scope=scope, namespace=namespace, id_=id_)
        )

    async def claims(self, request: Request) -> Response:
        """GET /v1/interactions/{namespace}/{id}/claims."""
        namespace, id_ = params.interaction(request)
        scope = self._page_scope(request)
        return await self._shown(
            partial(pagereads.claims, scope=scope, namespace=namespace, id_=id_)
        )

    async def search(self, request: Request) -> Response:
        """GET /v1/search."""
        text = params.text(request, "q")
        if text is None:
            raise Problem("bad-value", "q: what is looked for")
        scope = self._page_sees(request)
        return await self._shown(partial(pagereads.search, scope=scope, text=text))

    async def _shown(self, query: Callable[[Connection], object]) -> Response:
        data = msgspec.json.encode(await self._page_reads(query))
        return Response(data, media_type=routes.JSON, headers={"Cache-Control": "no-store"})


def _static(name: str, media: str) -> Response:
    data = (resources.files("tallystick.validator") / "web" / name).read_bytes()
    return Response(data, media_type=media, headers=HEADERS)
