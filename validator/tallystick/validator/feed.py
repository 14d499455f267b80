"""Verdicts as server-sent events (WHATWG HTML, 9.2), resumed where a client stopped.

An event's id is the verdict's index in the log, so `Last-Event-ID` says all there is to know; a
stream that ends for any reason goes on without a gap or a repetition.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tallystick.evidence.errors import TallyError
from tallystick.validator import answers, params, queries, routes
from tallystick.validator.limits import (
    PAGE_ROWS_DEFAULT,
    STREAM_ALIVE_S,
    STREAM_LOOK_S,
    STREAM_S_MAX,
    STREAMS_MAX,
    VERDICTS_WAITS_MAX,
)
from tallystick.validator.problem import Problem

T = TypeVar("T")
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Asks(Protocol):
    """Runs a query on a snapshot of the store, in a thread."""

    def __call__(self, query: Callable[[Connection], T]) -> Awaitable[T]:
        """What the query gives."""


class Feed:
    """Tells who waits that verdicts were published; the log says when there are any."""

    def __init__(self, ask: Asks, ending: threading.Event) -> None:
        self.ask = ask
        self.ending = ending
        self.open = 0
        self._waiting = 0  # of any kind
        self._pages = 0  # questions that wait for their page
        self._size = 0
        self._grown = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looking: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Somebody will wait; called before the store is asked, so that nothing comes between."""
        self._loop = asyncio.get_running_loop()

    def published(self, size: int) -> None:
        """Say that verdicts below this size are; called by the sequencer's thread."""
        loop = self._loop
        if loop is None:
            return
        with suppress(RuntimeError):  # it is closed: nobody waits any more
            loop.call_soon_threadsafe(self._told, size)

    def _told(self, size: int) -> None:
        self._size = max(self._size, size)
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    async def beyond(self, size: int, wait_s: float) -> bool:
        """Whether verdicts above `size` are published now, or within this time."""
        if self._size > size:
            return True
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        self._waiting += 1
        try:
            await asyncio.wait_for(self._grown.wait(), wait_s)
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        return self._size > size

    async def page(
        self, page: Callable[[Connection], answers.Verdicts], wait_s: float
    ) -> answers.Verdicts:
        """A page of verdicts; where it is empty, once more as soon as there are new ones."""
        self.begin()
        found = await self.ask(page)
        # A bound of its own: however many streams are open, gateways need not poll.
        if found.verdicts or not wait_s or self._pages >= VERDICTS_WAITS_MAX:
            return found
        self._pages += 1
        try:
            await self.beyond(found.size, wait_s)
        finally:
            self._pages -= 1
        return await self.ask(page)

    async def _look(self) -> None:
        # Whoever ends the service has no loop to tell it to.
        while (self.open or self._waiting) and not self.ending.is_set():  # noqa: ASYNC110 - as said
            await asyncio.sleep(STREAM_LOOK_S)
        self._told(0)


class FeedDoor:
    """A handler of the application."""

    _feed: Feed

    async def verdict_events(self, request: Request) -> Response:
        """GET /v1/verdicts/events."""
        after = params.whole(request, "after", 0, params.SIZE_MAX, 0)
        resumed = request.headers.get("last-event-id")
        if resumed is not None:
            after = params.number(resumed, "Last-Event-ID", 0, params.SIZE_MAX)
        page = partial(
            queries.verdicts,
            device=params.octets(request, "device", 32),
            state=params.state(request),
            limit=PAGE_ROWS_DEFAULT,
        )
        if self._feed.open >= STREAMS_MAX:
            raise Problem("over-quota", "too many streams are open; ask again later", status=503)
        self._feed.begin()
        return _Stream(self._feed, page, after)


class _Stream(StreamingResponse):
    """Counted from the moment at which it is promised, or many at once would all be let in."""

    def __init__(self, feed: Feed, page: Callable[..., answers.Verdicts], after: int) -> None:
        events = _events(feed, page, after)
        super().__init__(events, media_type=routes.EVENTS, headers=HEADERS)
        self._feed = feed
        feed.open += 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See StreamingResponse."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feed.open -= 1


async def _events(
    feed: Feed, page: Callable[..., answers.Verdicts], after: int
) -> AsyncIterator[bytes]:
    ends_s = asyncio.get_running_loop().time() + STREAM_S_MAX
    try:
        # A first line at once: who waits for headers knows that it listens.
        yield b"retry: 2000\n\n"
        while not feed.ending.is_set() and asyncio.get_running_loop().time() < ends_s:
            found = await feed.ask(partial(page, after=after))
            for one in found.verdicts:
                yield _event(one)
            after = found.next
            if len(found.verdicts) < PAGE_ROWS_DEFAULT and not await feed.beyond(
                found.size, STREAM_ALIVE_S
            ):
                # A comment: proxies keep the stream, and whoever is gone is noticed.
                yield b": still here\n\n"
    except (SQLAlchemyError, TallyError):
        return  # the client asks again from where it was


def _event(one: answers.Verdict) -> bytes:
    # JSON has no line breaks of its own, so it is one `data` line.
    data: Any = msgspec.json.encode(one)
    return b"event: verdict\nid: %d\ndata: %b\n\n" % (one.entry, data)
