"""The HTTP interface (docs/protocol.md, section 8): a thin shell over sequencer and queries."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import msgspec
import structlog
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from tallystick.evidence.enrolment import SUBJECTS
from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import from_b64u
from tallystick.validator import (
    answers,
    body,
    follow,
    interactions,
    openapi,
    params,
    policies,
    problem,
    queries,
    routes,
    stories,
)
from tallystick.validator.access import NOTHING, Doorkeeper, Scope
from tallystick.validator.evidence import Exporter
from tallystick.validator.feed import Feed, FeedDoor
from tallystick.validator.limits import (
    DOOR_THREADS_MAX,
    PAGE_ROWS_DEFAULT,
    PAGE_ROWS_MAX,
    PUBLICATION_BYTES_MAX,
    VERDICTS_WAIT_S_MAX,
)
from tallystick.validator.logdoors import LogDoors
from tallystick.validator.pages import PageDoor
from tallystick.validator.params import SIZE_MAX
from tallystick.validator.privacydoor import PrivacyDoor
from tallystick.validator.problem import Problem
from tallystick.validator.segmentdoor import SegmentDoor
from tallystick.validator.segmentpace import SegmentPace
from tallystick.validator.sequencer import Sequencer
from tallystick.validator.statusread import Ready, status_of
from tallystick.validator.witness import Witness

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]


def make_app(
    sequencer: Sequencer, version: str, ending: threading.Event | None = None
) -> Starlette:
    """The service over an open sequencer; streams end when `ending` is set."""
    handlers = _Handlers(sequencer, version, ending or threading.Event())
    app = Starlette(
        routes=[
            StarletteRoute(
                route.path.replace("{namespace}", "{namespace:path}").replace(
                    "{tile}", "{tile:path}"
                ),
                handlers.handler(route),
                methods=[route.method],
            )
            for route in sorted(routes.ROUTES, key=lambda route: "{namespace}" in route.path)
        ],
        exception_handlers={
            TallyError: handlers.refused,
            HTTPException: handlers.http_error,
            SQLAlchemyError: handlers.store_error,
        },
    )
    # A path with one slash more is no path of ours; a redirect would go where the Host header says.
    app.router.redirect_slashes = False
    return app


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


class _Handlers(LogDoors, PrivacyDoor, SegmentDoor, FeedDoor, PageDoor):
    def __init__(self, sequencer: Sequencer, version: str, ending: threading.Event) -> None:
        super().__init__(self._ask, Witness(sequencer))
        self._feed = Feed(self._ask, ending)
        sequencer.log.on_verdicts = self._feed.published
        self._page_reads, self._page_sees = self._ask, self._may_see
        self._page_scope = self._scope
        self._segment_reads, self._segment_pace = self._ask, SegmentPace()
        self._sequencer = sequencer
        self._config = config = sequencer.config
        self._devices = queries.Devices(self._config.roots)
        self._exporter = Exporter(sequencer.circle.once, sequencer.profiles, config.credential)
        self._keeper = Doorkeeper(config.readers, config.scopes, config.operators)
        self._document = openapi.document(routes.ROUTES, version, self._config.origin)
        self._log_line = structlog.get_logger("tallystick.validator")
        self._unpacking: anyio.CapacityLimiter | None = None

    def handler(self, route: routes.Route) -> Handler:
        """The handler of a row of the table."""
        found: Handler = getattr(self, route.name)

        async def handle(request: Request) -> Response:
            if route.bodies:
                self._scope(request)
            allowed = {item.name for item in route.parameters if item.where == "query"}
            for name in request.query_params:
                if name not in allowed:
                    raise Problem("bad-value", f"no parameter {name[:64]!r} is known here")
            try:
                return await found(request)
            except (TallyError, HTTPException, SQLAlchemyError):
                raise
            except Exception:  # noqa: BLE001 - the service goes on, and says so
                return self._defect(request)

        return handle

    # --- refusals --------------------------------------------------------------------------

    async def refused(self, request: Request, error: Exception) -> Response:
        """A refusal with its reason; batches and readers without a token are counted before."""
        if not isinstance(error, TallyError):
            raise error
        if request.url.path != "/v1/batches" and error.reason != "not-authorised":
            self._sequencer.refusals.count(error.reason)
        return problem.response(error)

    async def http_error(self, _: Request, error: Exception) -> Response:
        """No such path, no such method."""
        if not isinstance(error, HTTPException):
            raise error
        return problem.response(Problem("bad-value", str(error.detail), status=error.status_code))

    async def store_error(self, _: Request, error: Exception) -> Response:
        """The store does not answer now."""
        self._log_line.error("store-failed", what="read", error=type(error).__name__)
        return problem.response(Problem("store-full", "the store does not answer now"))

    def _defect(self, request: Request) -> Response:
        """A defect of ours: logged, counted, and answered as one."""
        self._log_line.exception("request-failed", path=request.url.path)
        self._sequencer.refusals.count("internal-error")
        message = f"{request.url.path} made the validator fail; please report it"
        return problem.response(Problem("internal-error", message))

    def _scope(self, request: Request) -> Scope:
        """Bodies are for configured readers; on loopback for all when the operator said so."""
        found = params.scope_of(request, self._config, self._keeper)
        if found is None:
            self._sequencer.refusals.count("not-authorised")
            raise Problem(
                "not-authorised", "bodies are for configured readers: send a bearer token"
            )
        return found

    def _may_see(self, request: Request) -> Scope:
        """On pages that are open: more for a reader, and no less for a token that is not known."""
        return params.scope_of(request, self._config, self._keeper) or NOTHING

    # --- asking the store ------------------------------------------------------------------

    async def _ask(self, query: Callable[[Connection], T]) -> T:
        def work() -> T:
            with self._sequencer.store.read() as connection:
                return query(connection)

        return await anyio.to_thread.run_sync(work)

    async def _asked(self, query: Callable[[Connection], Any]) -> Response:
        return _json(await self._ask(query))

    # --- routes ----------------------------------------------------------------------------

    async def batch(self, request: Request) -> Response:
        """POST /v1/batches."""
        try:
            compressed = await body.read(request)
            lane = await self._lane(compressed)
            future = self._sequencer.submit(compressed, lane)
        except TallyError as error:
            self._sequencer.refusals.count(error.reason)
            raise
        answer = await asyncio.wrap_future(future)
        return Response(answer, media_type=routes.CBOR)

    async def _lane(self, compressed: bytes) -> str:
        # Each may unpack 8 MiB: never many at once, and never all threads, which answer readers.
        if self._unpacking is None:
            self._unpacking = anyio.CapacityLimiter(DOOR_THREADS_MAX)
        lane = self._sequencer.door.lane
        return await anyio.to_thread.run_sync(lane, compressed, limiter=self._unpacking)

    async def credentials(self, request: Request) -> Response:
        """POST /v1/credentials."""
        data = await body.read_plain(request, routes.CBOR, PUBLICATION_BYTES_MAX)
        sender = request.client.host if request.client is not None else ""
        future = self._sequencer.publish(data, sender)
        published: answers.Published = await asyncio.wrap_future(future)
        return _json(published)

    async def policy(self, request: Request) -> Response:
        """GET /v1/policy."""
        entry = params.whole(request, "entry", 0, SIZE_MAX, SIZE_MAX)
        found = await self._ask(partial(policies.in_force, entry=entry))
        return Response(found, media_type=routes.COSE, headers={"Cache-Control": "no-store"})

    async def entries(self, request: Request) -> Response:
        """GET /v1/entries."""
        start = params.whole(request, "start", 0, SIZE_MAX, 0)
        count = params.whole(request, "count", 1, PAGE_ROWS_MAX, PAGE_ROWS_DEFAULT)
        return await self._asked(partial(queries.entries, start=start, count=count))

    async def receipt(self, request: Request) -> Response:
        """GET /v1/receipts/{digest}."""
        digest = from_b64u(request.path_params["digest"], 32)
        return Response(
            await self._ask(partial(queries.receipt, digest=digest)), media_type=routes.COSE
        )

    async def devices(self, request: Request) -> Response:
        """GET /v1/devices."""
        subject = request.query_params.get("subject", "device")
        if subject not in SUBJECTS:
            raise Problem("bad-value", "subject: device, gateway or validator")
        after = params.octets(request, "after", 32) or b""
        limit = params.limit(request)
        number = SUBJECTS.index(subject)
        return await self._asked(
            partial(self._devices.page, subject=number, after=after, limit=limit)
        )

    async def device(self, request: Request) -> Response:
        """GET /v1/devices/{id}."""
        id_ = from_b64u(request.path_params["id"], 32)
        return await self._asked(partial(self._devices.one, id_=id_))

    async def forks(self, request: Request) -> Response:
        """GET /v1/devices/{id}/forks."""
        id_ = from_b64u(request.path_params["id"], 32)
        return await self._asked(partial(queries.forks_of, id_=id_))

    async def credential(self, request: Request) -> Response:
        """GET /v1/devices/{id}/credential."""
        id_ = from_b64u(request.path_params["id"], 32)
        return _file(await self._ask(partial(follow.credential_of, id_=id_)))

    async def consistency(self, request: Request) -> Response:
        """GET /v1/devices/{id}/consistency."""
        id_ = from_b64u(request.path_params["id"], 32)
        given = request.query_params
        for name in ("epoch", "from", "to"):
            if name not in given:
                raise Problem("bad-value", f"{name}: it is needed here")
        epoch = from_b64u(given["epoch"], 8)
        size1 = params.number(given["from"], "from", 1, SIZE_MAX)
        size2 = params.number(given["to"], "to", size1, SIZE_MAX)
        return await self._asked(
            partial(follow.consistency, id_=id_, epoch=epoch, size1=size1, size2=size2)
        )

    async def heads(self, request: Request) -> Response:
        """GET /v1/heads."""
        after = params.whole(request, "after", 0, SIZE_MAX, 0)
        device = params.octets(request, "device", 32)
        return await self._asked(
            partial(follow.heads, after=after, device=device, limit=params.limit(request))
        )

    async def gateway_heads(self, request: Request) -> Response:
        """GET /v1/gateways/{id}/heads."""
        id_ = from_b64u(request.path_params["id"], 32)
        after = params.whole(request, "after", 0, SIZE_MAX, 0)
        return await self._asked(partial(stories.heads_of, id_=id_, after=after))

    async def fork_proofs(self, _: Request) -> Response:
        """GET /v1/forks."""
        return await self._asked(follow.fork_proofs)

    async def interactions(self, request: Request) -> Response:
        """GET /v1/interactions."""
        return await self._asked(
            partial(
                interactions.interactions,
                scope=self._may_see(request),
                state=params.state(request),
                namespace=params.text(request, "namespace"),
                after=params.whole(request, "after", 0, SIZE_MAX, 0),
                limit=params.limit(request),
            )
        )

    async def interaction(self, request: Request) -> Response:
        """GET /v1/interactions/{namespace}/{id}."""
        namespace, id_ = params.interaction(request)
        return await self._asked(
            partial(
                interactions.interaction,
                namespace=namespace,
                id_=id_,
                scope=self._may_see(request),
            )
        )

    async def verdicts(self, request: Request) -> Response:
        """GET /v1/verdicts."""
        page = partial(
            queries.verdicts,
            after=params.whole(request, "after", 0, SIZE_MAX, 0),
            device=params.octets(request, "device", 32),
            state=params.state(request),
            limit=params.limit(request),
        )
        wait_s = params.whole(request, "wait", 0, VERDICTS_WAIT_S_MAX, 0)
        return _json(await self._feed.page(page, wait_s))

    async def evidence(self, request: Request) -> Response:
        """GET /v1/evidence/{namespace}/{id}."""
        namespace, id_ = params.interaction(request)
        file = await self._ask(
            partial(
                self._exporter.interaction,
                namespace=namespace,
                interaction=id_,
                scope=self._scope(request),
            )
        )
        return _file(file)

    async def record(self, request: Request) -> Response:
        """GET /v1/evidence/records/{device}/{epoch}/{index}."""
        device = from_b64u(request.path_params["device"], 32)
        epoch = from_b64u(request.path_params["epoch"], 8)
        index = params.number(request.path_params["index"], "index", 0, SIZE_MAX)
        file = await self._ask(
            partial(
                self._exporter.record,
                device=device,
                epoch=epoch,
                index=index,
                scope=self._scope(request),
            )
        )
        return _file(file)

    async def status(self, _: Request) -> Response:
        """GET /v1/status."""
        return await self._asked(partial(status_of, sequencer=self._sequencer))

    async def health(self, _: Request) -> Response:
        """GET /healthz."""
        return _json(answers.Health("ok"))

    async def ready(self, _: Request) -> Response:
        """GET /readyz."""
        failure = self._sequencer.failure
        if failure is not None:
            raise Problem("not-ready", f"it does not work now: {failure}", status=503)
        return _json(Ready("ok", self._sequencer.reconciler.told()))

    async def openapi(self, _: Request) -> Response:
        """GET /openapi.json."""
        return _json(self._document)


def _file(data: bytes) -> Response:
    return Response(data, media_type=routes.CBOR, headers={"Cache-Control": "no-store"})
