"""POST /v1/segments: what a gateway lost of its own fleet's records (docs/protocol.md, 8.8).

Cheap first: how much came of that place unsigned, then whether the gateway and the device are
known and of one fleet, then one signature, then how much that gateway asks. Whoever may not ask
gets one and the same answer.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from starlette.requests import Request
from starlette.responses import Response

from tallystick.evidence import cbor, credential, segmentrequest
from tallystick.evidence.credential import Identity, verify_credential
from tallystick.evidence.enrolment import SUBJECT_DEVICE, SUBJECT_GATEWAY
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.limits import CHECKPOINT_BYTES_MAX, SEGMENT_STRETCHES_MAX
from tallystick.evidence.segmentrequest import SegmentRequest
from tallystick.validator import body, routes, schema
from tallystick.validator.access import denied
from tallystick.validator.limits import SEGMENT_ANSWER_BYTES_MAX
from tallystick.validator.segmentpace import SegmentPace
from tallystick.validator.sequencer import Sequencer

T = TypeVar("T")


class _Reads(Protocol):
    def __call__(self, query: Callable[[Connection], T], /) -> Awaitable[T]: ...


class SegmentDoor:
    """Handler of the application."""

    _sequencer: Sequencer
    _segment_reads: _Reads
    _segment_pace: SegmentPace

    async def segments(self, request: Request) -> Response:
        """POST /v1/segments."""
        data = await body.read_plain(request, routes.COSE, CHECKPOINT_BYTES_MAX)
        place = self._segment_pace.arrives(
            request.client.host if request.client is not None else ""
        )
        received = segmentrequest.parse(data)
        await self._segment_reads(lambda connection: self._check(connection, received))
        self._segment_pace.signed(place, received.gateway)
        found = await self._segment_reads(
            lambda connection: cbor.encode(stretches_of(connection, received))
        )
        return Response(found, media_type=routes.CBOR, headers={"Cache-Control": "no-store"})

    def _check(self, connection: Connection, received: SegmentRequest) -> None:
        now_ms = self._sequencer.log.clock_ms()
        gateway = self._identity(connection, received.gateway, SUBJECT_GATEWAY, now_ms)
        device = self._identity(connection, received.device, SUBJECT_DEVICE, None)
        if gateway is None or device is None or gateway.iss != device.iss:
            raise denied()
        if gateway.status != "active" or received.iss != gateway.iss:
            raise denied()
        own = self._sequencer.log.keys.signer.public_key().thumbprint()
        try:
            received.verify(gateway.key, own, now_ms)
        except Unverified as error:
            if error.reason == "expired":
                raise
            raise denied() from error

    def _identity(
        self, connection: Connection, id_: bytes, subject: int, now_ms: int | None
    ) -> Identity | None:
        table = schema.identities
        data = connection.execute(
            sa.select(table.c.credential).where(table.c.id == id_, table.c.subject == subject)
        ).scalar_one_or_none()
        if data is None:
            return None
        at_s = None if now_ms is None else now_ms // 1000
        try:
            return verify_credential(credential.parse(data), self._sequencer.config.roots, at_s)
        except TallyError:
            return None


def stretches_of(connection: Connection, received: SegmentRequest) -> list[bytes]:
    """The stretches of the range, each a segment, in order; as many as one answer may hold."""
    table = schema.stretches
    rows = connection.execute(
        sa.select(table.c["items"])
        .join(schema.logs, schema.logs.c.log == table.c.log)
        .where(
            schema.logs.c.device == received.device,
            schema.logs.c.epoch == received.epoch,
            table.c.first >= received.from_,
            table.c.first < received.to,
        )
        .order_by(table.c.first)
        .limit(SEGMENT_STRETCHES_MAX)
    )
    found: list[bytes] = []
    size = 0
    for (data,) in rows:
        size += len(data)
        if size > SEGMENT_ANSWER_BYTES_MAX:
            break
        found.append(bytes(data))
    return found
