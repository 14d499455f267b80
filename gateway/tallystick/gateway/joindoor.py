"""The HTTP door for devices that join, and for the operator who lets them in (protocol.md, 5.5).

Started only where gateway.toml has a [join] table. Nobody is known here by a password: devices
show that they hold a code, the operator that he holds the fleet root, and statements prove
themselves.
"""

import ipaddress
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread
import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tallystick.evidence.errors import Malformed, TallyError, TransportError, Unverified
from tallystick.evidence.keys import b64u, from_b64u
from tallystick.evidence.limits import CHECKPOINT_BYTES_MAX, JOIN_REQUEST_BYTES_MAX
from tallystick.gateway import joininbox, limits
from tallystick.gateway.joinconfig import JoinConfig
from tallystick.gateway.joins import Joins
from tallystick.gateway.pace import Bounded, Bucket
from tallystick.hw.httpdoor import Bounds, HttpDoor

CBOR = "application/cbor"
COSE = "application/cose"
STATUS = {
    "not-authorised": 401,
    "wrong-key": 403,
    "not-enrolled": 403,
    "expired": 403,
    "already-enrolled": 409,
    "too-large": 413,
    "over-quota": 429,
    "store-full": 503,
    "internal-error": 503,
}
T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]
_log = structlog.get_logger("tallystick.gateway.joindoor")


class Senders:
    """Rates by address, and for all; refusals cost more than requests."""

    def __init__(self) -> None:
        self._all = Bucket(limits.JOIN_PER_S, limits.JOIN_BURST)
        self._by: Bounded[str, tuple[Bucket, Bucket]] = Bounded(limits.JOIN_SENDERS_MAX)

    def _of(self, sender: str) -> tuple[Bucket, Bucket]:
        found = self._by.get(sender)
        if found is None:
            found = (
                Bucket(limits.JOIN_PER_SENDER_PER_S, limits.JOIN_PER_SENDER_BURST),
                Bucket(limits.JOIN_BAD_PER_SENDER_PER_S, limits.JOIN_BAD_PER_SENDER_BURST),
            )
            self._by.put(sender, found)
        return found

    def check(self, sender: str, now_s: float) -> None:
        """Unverified("over-quota") for who asks or was refused too often."""
        requests, bad = self._of(sender)
        # One's own share first: what one sender has too much is not taken from all.
        if bad.empty(now_s) or not requests.take(now_s) or not self._all.take(now_s):
            raise Unverified("over-quota", "too many requests; wait, then try again")

    def refused(self, sender: str, now_s: float) -> None:
        """Remember that something was refused."""
        self._of(sender)[1].take(now_s)


def sender_of(request: Request) -> str:
    """Whose requests are counted together: an IPv4 address, the first 64 bits of an IPv6 one."""
    host = request.client.host if request.client is not None else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))


class _Handlers:
    def __init__(self, joins: Joins, count: Callable[[str, str], None]) -> None:
        self._joins = joins
        self._count = count
        self._senders = Senders()

    def guarded(self, handler: Handler) -> Handler:
        """Rates before, refusals after; no defect of ours ends more than one request."""

        async def handle(request: Request) -> Response:
            sender = sender_of(request)
            try:
                self._senders.check(sender, time.monotonic())
                return await handler(request)
            except TallyError as error:
                if error.reason not in {"over-quota", "store-full"}:
                    self._senders.refused(sender, time.monotonic())
                return self.refusal(error)
            except HTTPException:
                raise
            except Exception:  # noqa: BLE001 - the door stays open, and says so
                # The path may hold a code's name, and a body more: neither is logged.
                _log.exception("a join request failed")
                return self.refusal(TallyError("internal-error", "the gateway failed; report it"))

        return handle

    def refusal(self, error: TallyError) -> Response:
        """As application/problem+json (RFC 9457), counted."""
        self._count(error.reason, error.message)
        return problem(error.reason, error.message, STATUS.get(error.reason, 400))

    async def root(self, request: Request) -> Response:
        """GET /join/1/root/{name}."""
        code = from_b64u(request.path_params["name"], 16)
        line = await _work(partial(self._joins.root_line, code, int(time.time())))
        return Response(line, media_type="text/plain", headers={"Cache-Control": "no-store"})

    async def requests(self, request: Request) -> Response:
        """POST /join/1/requests."""
        data = await read(request, CBOR, JOIN_REQUEST_BYTES_MAX)
        answer = await _work(partial(self._joins.ask, data, int(time.time())))
        if answer is None:
            wait = {"Retry-After": str(limits.JOIN_RETRY_S)}
            return Response(b"", status_code=202, headers=wait)
        return Response(answer, media_type=COSE)

    async def challenge(self, _: Request) -> Response:
        """GET /join/1/challenge."""
        given = b64u(self._joins.challenge())
        return _json({"gateway": b64u(self._joins.gateway), "challenge": given})

    async def queue(self, request: Request) -> Response:
        """POST /join/1/queue."""
        data = await read(request, COSE, CHECKPOINT_BYTES_MAX)
        rows, more = await _work(partial(self._joins.queue, data))
        queued = [
            {"number": row.number, "since_ms": row.since_ms, "request": b64u(row.data)}
            for row in rows
        ]
        return _json({"queued": queued, "more": more})

    async def statements(self, request: Request) -> Response:
        """POST /join/1/statements."""
        data = await read(request, CBOR, limits.JOIN_STATEMENTS_BYTES_MAX)
        given = joininbox.statements(data)

        def take() -> list[str | None]:
            return [self._joins.take(one) for one in given]

        return _json({"taken": await _work(take)})


async def _work(function: Callable[[], T]) -> T:
    return await anyio.to_thread.run_sync(function)


def _json(value: object) -> Response:
    body = msgspec.json.encode(value)
    headers = {"Cache-Control": "no-store"}
    return Response(body, media_type="application/json", headers=headers)


def problem(reason: str, title: str, status: int) -> Response:
    """The answer that says why."""
    headers = {"Cache-Control": "no-store"}
    if status in {429, 503}:
        headers["Retry-After"] = str(limits.JOIN_RETRY_S)
    body = msgspec.json.encode({"reason": reason, "title": title, "status": status})
    return Response(body, status, headers, "application/problem+json")


async def read(request: Request, media: str, bytes_max: int) -> bytes:
    """A body, capped while it comes; how long it may take is the connection's affair."""
    if request.headers.get("content-type", "") != media or "content-encoding" in request.headers:
        raise Malformed("bad-header", f"send {media}, not compressed")
    declared = request.headers.get("content-length", "")
    large = Malformed("too-large", f"the body is over {bytes_max} bytes")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > bytes_max:
        raise large
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > bytes_max:
                raise large
            parts.append(part)
    except ClientDisconnect:
        raise Malformed("truncated", "the connection ended inside the body") from None
    return b"".join(parts)


def make_app(joins: Joins, count: Callable[[str, str], None]) -> Starlette:
    """The door over an open queue; `count` is told reason and message of each refusal."""
    handlers = _Handlers(joins, count)

    async def http_error(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 400
        return problem("bad-value", "no such door", status)

    routes = [
        Route("/join/1/root/{name}", handlers.guarded(handlers.root), methods=["GET"]),
        Route("/join/1/requests", handlers.guarded(handlers.requests), methods=["POST"]),
        Route("/join/1/challenge", handlers.guarded(handlers.challenge), methods=["GET"]),
        Route("/join/1/queue", handlers.guarded(handlers.queue), methods=["POST"]),
        Route("/join/1/statements", handlers.guarded(handlers.statements), methods=["POST"]),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: http_error})
    app.router.redirect_slashes = False
    return app


class JoinDoor:
    """Listens in a thread of its own; `start`, then `stop`."""

    def __init__(self, config: JoinConfig, joins: Joins, name: str) -> None:
        self._config = config
        self._joins = joins
        self._door = HttpDoor(_bounds(), f"{name}: join door", config.cert, config.key)
        self._counted: Counter[str] = Counter()
        self._said: dict[str, str] = {}
        self._turn = threading.Lock()

    @property
    def url(self) -> str:
        """Where it listens, with the port that was given where the configured one is 0."""
        return self._door.url

    @property
    def thread(self) -> threading.Thread | None:
        """In which it serves."""
        return self._door.thread

    def renew(self) -> None:
        """Read its certificate again, where it has one."""
        if self._config.cert is not None and self._config.key is not None:
            self._door.renew(self._config.cert, self._config.key)

    def call(self, what: Callable[[], None]) -> None:
        """Do something in its thread."""
        self._door.call(what)

    def count(self, reason: str, message: str) -> None:
        """Count a refusal, in memory."""
        with self._turn:
            self._counted[reason] += 1
            self._said[reason] = message

    def take_counts(self) -> list[tuple[str, int, str]]:
        """(reason, count, what was said last) since they were last taken."""
        with self._turn:
            found = [(reason, n, self._said[reason]) for reason, n in self._counted.items()]
            self._counted.clear()
            return found

    def start(self) -> str:
        """Listen; TransportError where the address or the certificate cannot be used."""
        host, port = self._config.host, self._config.port
        try:
            self._door.listen(host, port)
            self._door.serve(make_app(self._joins, self.count))
        except (OSError, ValueError) as error:
            self.stop()
            raise TransportError("bad-value", f"join: {host}:{port}: {error}") from error
        except TransportError as error:
            self.stop()
            raise TransportError(error.reason, f"join: {error.message}") from error
        return self.url

    def stop(self) -> None:
        """Answer what is being answered, then close."""
        self._door.stop()


def _bounds() -> Bounds:
    return Bounds(
        connections_max=limits.JOIN_CONNECTIONS_MAX,
        header_bytes_max=limits.JOIN_HEADER_BYTES_MAX,
        keep_alive_s=limits.JOIN_KEEP_ALIVE_S,
        backlog=limits.JOIN_BACKLOG,
        start_s_max=limits.JOIN_START_S_MAX,
        stop_s_max=limits.JOIN_STOP_S_MAX,
        # Slow headers, bodies and readers alike.
        connection_s_max=limits.JOIN_CONNECTION_S_MAX,
        handshake_s_max=limits.JOIN_HANDSHAKE_S_MAX,
    )
