"""Refusals as `application/problem+json` (RFC 9457), with a reason of docs/protocol.md, 1.7."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import b64u

if TYPE_CHECKING:
    from starlette.responses import Response

# What a reason means to an HTTP client; every other one is 400: the input is at fault.
STATUS = {
    "wrong-key": 403,
    "unknown-device": 403,
    "not-enrolled": 403,
    "not-authorised": 401,
    "on-hold": 409,
    "erased": 410,
    "gateway-gap": 409,
    "gateway-fork": 409,
    "too-large": 413,
    "over-quota": 429,
    # Ours to mend, and another try may go another way: the sender keeps what it has.
    "internal-error": 503,
    "store-full": 503,
    "not-ready": 503,
    "put-back": 503,
}


class Problem(TallyError):
    """A refusal that knows its HTTP status; `size` is told with gateway-gap and gateway-fork.

    refusals: the signed refusals of quotas that are used up (protocol, 6.7); retry_s: when to
    come again, of 429 and 503.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        status: int | None = None,
        size: int | None = None,
        refusals: Sequence[bytes] = (),
        retry_s: int = 1,
    ) -> None:
        super().__init__(reason, message)
        self.status = STATUS.get(reason, 400) if status is None else status
        self.size = size
        self.refusals = tuple(refusals)
        self.retry_s = retry_s


class _Body(msgspec.Struct, omit_defaults=True):
    reason: str
    title: str
    status: int
    size: int | None = None
    refusals: list[str] = []


def response(error: TallyError) -> "Response":
    """The answer that says why."""
    # Imported where it is used: the base install reads configurations and serves nothing.
    from starlette.responses import Response  # noqa: PLC0415

    problem = error if isinstance(error, Problem) else Problem(error.reason, error.message)
    refusals = [b64u(one) for one in problem.refusals]
    body = _Body(problem.reason, problem.message, problem.status, problem.size, refusals)
    headers = {"Cache-Control": "no-store"}
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if problem.status in {429, 503}:
        headers["Retry-After"] = str(problem.retry_s)
    return Response(
        msgspec.json.encode(body),
        status_code=problem.status,
        media_type="application/problem+json",
        headers=headers,
    )
