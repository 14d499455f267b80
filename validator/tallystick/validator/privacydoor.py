"""Routes about bodies that must go, and bodies that must stay (docs/protocol.md, 6.6 and 8.6)."""

import asyncio
from typing import Any

import msgspec
from sqlalchemy.engine import Connection
from starlette.requests import Request
from starlette.responses import Response

from tallystick.evidence.keys import from_b64u
from tallystick.validator import answers, body, holds, params, privacy, routes
from tallystick.validator.access import Doorkeeper
from tallystick.validator.limits import ERASURE_BYTES_MAX, HOLD_BYTES_MAX, HOLD_TEXT_CHARS_MAX
from tallystick.validator.problem import Problem
from tallystick.validator.sequencer import Sequencer

NO_CONTENT = 204
# Made here: msgspec makes it at the first use else, and two threads at once end the process.
_wanted = msgspec.json.Decoder(answers.HoldWanted)


class PrivacyDoor:
    """Handlers of the application."""

    _sequencer: Sequencer
    _keeper: Doorkeeper

    async def erasures(self, request: Request) -> Response:
        """POST /v1/erasures."""
        data = await body.read_plain(request, routes.COSE, ERASURE_BYTES_MAX)
        sender = request.client.host if request.client is not None else ""
        future = self._sequencer.erase(privacy.parse(data), sender)
        done: answers.Erased = await asyncio.wrap_future(future)
        return _json(done)

    async def holds(self, request: Request) -> Response:
        """GET /v1/holds."""
        self._operator(request)
        future = self._sequencer.in_turn("hold", holds.shown)
        found: answers.Holds = await asyncio.wrap_future(future)
        return _json(found)

    async def hold(self, request: Request) -> Response:
        """PUT /v1/holds/{name}."""
        operator = self._operator(request)
        name = _name(request)
        data = await body.read_plain(request, routes.JSON, HOLD_BYTES_MAX)
        row = _row(data) | {"by": operator, "since_ms": self._sequencer.log.now_ms()}

        def put(connection: Connection) -> answers.Holds:
            holds.put(connection, name, row)
            return holds.shown(connection)

        shown: answers.Holds = await asyncio.wrap_future(self._sequencer.in_turn("hold", put))
        return _json(shown)

    async def lift(self, request: Request) -> Response:
        """DELETE /v1/holds/{name}."""
        self._operator(request)
        name = _name(request)

        def lift(connection: Connection) -> None:
            holds.lift(connection, name)
            privacy.look_again(connection)

        await asyncio.wrap_future(self._sequencer.in_turn("hold", lift))
        return Response(status_code=NO_CONTENT)

    def _operator(self, request: Request) -> str:
        found = self._keeper.operator(params.bearer(request) or "")
        if found is None:
            self._sequencer.refusals.count("not-authorised")
            raise Problem("not-authorised", "holds are for operators: send an operator's token")
        return found


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    if not 1 <= len(name) <= HOLD_TEXT_CHARS_MAX or not name.isprintable():
        raise Problem("bad-value", f"name: 1 to {HOLD_TEXT_CHARS_MAX} printable characters")
    return name


def _row(data: bytes) -> dict[str, Any]:
    try:
        wanted = _wanted.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem("bad-value", f"a hold: {error}") from None
    if [wanted.fleet, wanted.device, wanted.namespace].count(None) != 2:
        raise Problem("bad-value", "a hold is on a fleet, on a device, or on a namespace")
    if wanted.interaction is not None and wanted.namespace is None:
        raise Problem("bad-value", "a hold on an interaction names its namespace")
    return {
        "fleet": wanted.fleet,
        "device": None if wanted.device is None else from_b64u(wanted.device, 32),
        "namespace": wanted.namespace,
        "interaction": None if wanted.interaction is None else from_b64u(wanted.interaction, 16),
        "why": wanted.why,
    }
