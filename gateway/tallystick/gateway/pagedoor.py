"""The page's handlers: read-only, and answered from the newest look."""

import asyncio
import hashlib
import hmac
import ipaddress
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources

import anyio.to_thread
import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route as StarletteRoute
from starlette.types import Receive, Scope, Send

from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.keys import device_from_text
from tallystick.gateway import metrics, pageguide, pagelimits, pageone, pageroutes, readiness
from tallystick.gateway.joindoor import sender_of
from tallystick.gateway.pace import Bounded, Bucket
from tallystick.gateway.pageconfig import PageConfig
from tallystick.gateway.pageroutes import Route
from tallystick.gateway.pagestate import Device, Devices, OneDevice, Problem
from tallystick.gateway.pagewatch import Look, Watch
from tallystick.hw.httpdoor import PAGE_HEADERS

HEADERS = PAGE_HEADERS | {"Cache-Control": "no-store"}
STREAM = {**HEADERS, "X-Accel-Buffering": "no"}
# What a browser says of who asks; others' pages may lead here, and read nothing.
SAME_SITE = frozenset({"same-origin", "none"})
_log = structlog.get_logger("tallystick.gateway.page")
Handler = Callable[[Request], Awaitable[Response]]


class Refusal(TallyError):
    """A question that is not answered; `status` is HTTP's."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.status = status


class Guard:
    """Who may ask: the right host name, no other site's page, the token where there is one."""

    def __init__(self, config: PageConfig) -> None:
        self._names = {"localhost", *config.names}
        # Only digests are compared and kept: of one length, whatever is sent.
        self._token = None if config.token is None else _digest(config.token)
        self._bad: Bounded[str, Bucket] = Bounded(pagelimits.SENDERS_MAX)

    def check(self, request: Request, route: Route) -> None:
        """Refusal, or nothing."""
        # A foreign name that was made to point here would make our page one of that site.
        if not self._host(request.headers.get("host", "")):
            raise Refusal(403, "not-authorised", "a host name that page.names does not list")
        site = request.headers.get("sec-fetch-site", "none")
        if site not in SAME_SITE and route.path != "/":
            raise Refusal(403, "not-authorised", "asked by another site's page")
        known = {name for name, _ in route.query}
        for name in request.query_params:
            if name not in known:
                raise Refusal(400, "bad-value", f"no parameter {name[:64]!r} is known here")
        if self._token is not None and not route.open:
            self._check_token(request, self._token)

    def _host(self, text: str) -> bool:
        name = text.rpartition(":")[0] if text.rpartition(":")[2].isdigit() else text
        name = name.lower().removeprefix("[").removesuffix("]")
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _check_token(self, request: Request, token: bytes) -> None:
        sender, now_s = sender_of(request), time.monotonic()
        bad = self._bad.get(sender)
        if bad is not None and bad.empty(now_s):
            raise Refusal(429, "over-quota", "too many wrong tokens; wait, then try again")
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(_digest(given.strip()), token):
            return
        if given:
            if bad is None:
                bad = Bucket(pagelimits.BAD_TOKENS_PER_S, pagelimits.BAD_TOKENS_BURST)
                self._bad.put(sender, bad)
            bad.take(now_s)
        raise Refusal(401, "not-authorised", "send the token of page.token_file as a bearer token")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class Door:
    """The application over a watch; `tell` wakes the streams after a look."""

    def __init__(self, config: PageConfig, watch: Watch, version: str) -> None:
        self._guard = Guard(config)
        self._watch = watch
        self._document = msgspec.json.encode(pageroutes.openapi(version))
        self._guide = msgspec.json.encode(pageguide.GUIDES)
        self._registry = metrics.registry(watch)
        self._looked = asyncio.Event()
        self.streams = 0
        self.ending = False
        self.app = Starlette(
            routes=[
                StarletteRoute(route.path, self._handler(route), methods=["GET"])
                for route in pageroutes.ROUTES
            ],
            exception_handlers={HTTPException: _http_error},
        )
        # A path with one slash more is none of ours; a redirect would go where Host says.
        self.app.router.redirect_slashes = False

    def reconfigure(self, config: PageConfig) -> None:
        """Another token and other names; who watches goes on watching."""
        self._guard = Guard(config)

    def tell(self) -> None:
        """There is a new look; in the loop's thread."""
        looked, self._looked = self._looked, asyncio.Event()
        looked.set()

    def end(self) -> None:
        """End the streams; in the loop's thread."""
        self.ending = True
        self.tell()

    def _handler(self, route: Route) -> Handler:
        found: Handler = getattr(self, route.name)

        async def handle(request: Request) -> Response:
            try:
                self._guard.check(request, route)
                return await found(request)
            except Refusal as error:
                return problem(error.reason, error.message, error.status)
            except TallyError as error:
                return problem(error.reason, error.message, 400)
            except Exception:  # noqa: BLE001 - one answer fails, the page stays
                _log.exception("the page failed to answer", route=route.path)
                return problem("internal-error", "the gateway failed; please report it", 503)

        return handle

    def _newest(self) -> Look:
        self._watch.wanted()
        if self._watch.newest is None:
            raise Refusal(503, "store-full", "nothing was read of the store yet")
        return self._watch.newest

    # --- routes ------------------------------------------------------------------------------

    async def file(self, request: Request) -> Response:
        """The page's own files."""
        name, media = pageroutes.FILES[request.url.path]
        data = (resources.files("tallystick.gateway") / "web" / name).read_bytes()
        headers = {**HEADERS, "Cache-Control": "no-cache"}
        return Response(data, media_type=media, headers=headers)

    async def status(self, _: Request) -> Response:
        """GET /v1/status."""
        return _json(self._newest().data)

    async def devices(self, request: Request) -> Response:
        """GET /v1/devices."""
        look, given = self._newest(), request.query_params
        text = given.get("q", "")
        if len(text) > pagelimits.QUERY_CHARS_MAX:
            raise Malformed("too-large", f"q: at most {pagelimits.QUERY_CHARS_MAX} characters")
        first = _whole(given.get("first", "0"), "first", len(look.devices))
        limit = _whole(
            given.get("limit", str(pagelimits.DEVICES_ROWS)), "limit", pagelimits.DEVICES_ROWS_MAX
        )
        only = _whole(given.get("trouble", "0"), "trouble", 1) == 1
        found = [one for one in look.devices if _matches(one, text.casefold(), only=only)]
        end = first + limit
        page = Devices(
            time_ms=look.snapshot.time_ms,
            total=len(look.devices),
            found=len(found),
            first=first,
            next=end if limit and end < len(found) else None,
            devices=found[first:end],
        )
        return _json(msgspec.json.encode(page))

    async def device(self, request: Request) -> Response:
        """GET /v1/devices/{id}."""
        look, id_ = self._newest(), device_from_text(request.path_params["id"])
        watch = self._watch

        def read() -> OneDevice | None:
            line = next((one for one in look.devices if one.id == request.path_params["id"]), None)
            if line is None:
                return None
            found: OneDevice = watch.ask(
                lambda connection: pageone.one_device(
                    connection, line, watch.fleet.known[id_], look.snapshot.conflicts
                )
            )
            return found

        found = await anyio.to_thread.run_sync(read)
        if found is None:
            raise Refusal(404, "unknown-device", "no such device is known here")
        return _json(msgspec.json.encode(found))

    async def history(self, _: Request) -> Response:
        """GET /v1/history."""
        self._newest()
        return _json(msgspec.json.encode(self._watch.history()))

    async def guide(self, _: Request) -> Response:
        """GET /v1/guide."""
        return _json(self._guide)

    async def metrics(self, _: Request) -> Response:
        """GET /metrics."""
        self._newest()
        data = metrics.text(self._registry)
        return Response(data, headers={**HEADERS, "Content-Type": metrics.CONTENT_TYPE})

    async def healthz(self, _: Request) -> Response:
        """GET /healthz."""
        return _readiness(readiness.unhealthy(self._watch.live, time.monotonic()))

    async def readyz(self, _: Request) -> Response:
        """GET /readyz."""
        return _readiness(readiness.unready(self._watch.live))

    async def document(self, _: Request) -> Response:
        """GET /openapi.json."""
        return _json(self._document)

    # --- the stream --------------------------------------------------------------------------

    async def events(self, _: Request) -> Response:
        """GET /v1/events."""
        self._watch.wanted()
        if self.streams >= pagelimits.STREAMS_MAX:
            raise Refusal(503, "over-quota", "too many streams are open; ask again later")
        return _Stream(self)

    async def stream(self) -> AsyncIterator[bytes]:
        """Each look once, the newest only: who is slow misses those between."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + pagelimits.STREAM_S_MAX
        seen = 0
        yield b"retry: 2000\n\n"
        while not self.ending and loop.time() < ends_s:
            looked, newest = self._looked, self._watch.newest
            self._watch.wanted()
            if newest is not None and newest.number > seen:
                seen = newest.number
                # JSON has no line breaks of its own, so it is one `data` line.
                yield b"event: status\nid: %d\ndata: %b\n\n" % (seen, newest.data)
                continue
            try:
                await asyncio.wait_for(looked.wait(), pagelimits.STREAM_ALIVE_S)
            except TimeoutError:
                yield b": still here\n\n"


class _Stream(StreamingResponse):
    """Counted from the moment at which it is promised, or many at once would all be let in."""

    def __init__(self, door: Door) -> None:
        super().__init__(door.stream(), media_type=pageroutes.EVENTS, headers=STREAM)
        self._door = door
        door.streams += 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See StreamingResponse."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._door.streams -= 1


def _matches(one: Device, text: str, *, only: bool) -> bool:
    if only and not (one.trouble or one.gaps or one.parked):
        return False
    return any(text in name for name in ((one.tag or "").casefold(), one.id.casefold(), one.iss))


def _whole(text: str, name: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9) or int(text) > most:
        raise Malformed("bad-value", f"{name}: a whole number up to {most}")
    return int(text)


def _json(data: bytes) -> Response:
    return Response(data, media_type=pageroutes.JSON, headers=HEADERS)


def _readiness(reasons: list[str]) -> Response:
    if not reasons:
        return _json(b'{"status":"ok"}')
    return problem("not-ready", "; ".join(reasons), 503, reasons)


def problem(reason: str, title: str, status: int, reasons: list[str] | None = None) -> Response:
    """As application/problem+json (RFC 9457)."""
    body = Problem(reason=reason, title=title, status=status, reasons=reasons or [])
    headers = dict(HEADERS)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(msgspec.json.encode(body), status, headers, pageroutes.PROBLEM)


async def _http_error(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 400
    return problem("bad-value", "no such page, or no such method", status)
