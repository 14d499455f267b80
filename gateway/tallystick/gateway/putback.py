"""Whether this gateway's store is older than what its key signed (docs/protocol.md, 6.1).

A validator that knows heads of this key is asked for them before anything is sent there.  They
carry the gateway's own signature, so a validator that lies can stop nobody.
"""

import sqlite3

import msgspec
import structlog

from tallystick.evidence import enrolment, gatewayhead, keychange
from tallystick.evidence.errors import CouldNotCheck, Malformed, Unverified
from tallystick.evidence.keys import PublicKey, device_text, from_b64u
from tallystick.gateway import limits
from tallystick.gateway.gatewaylog import GatewayLog, tree_at
from tallystick.gateway.http import Http, Refusal

_log = structlog.get_logger("tallystick.gateway.putback")
_NO_ANSWER_YET = 500  # from this status on, and 429, it is asked again
_TOO_MANY = 429


class _Head(msgspec.Struct):
    statement: str


class _Page(msgspec.Struct):
    heads: list[_Head]
    next: int | None = None


# Made here: msgspec makes it at the first use else, and two threads at once end the process.
_pages = msgspec.json.Decoder(_Page)


def keys_of(credential: tuple[bytes, ...]) -> list[PublicKey]:
    """The keys that a gateway had, by its own credential."""
    changes = [keychange.parse(data) for data in credential[1:]]
    rotated = [one.key for one in changes if isinstance(one, keychange.Rotation)]
    return [enrolment.parse(credential[0]).key, *rotated]


def check_signed(
    http: Http, reader: sqlite3.Connection, credential: tuple[bytes, ...], after: int
) -> None:
    """Compare the store with the heads above `after` that one validator has of this gateway.

    CouldNotCheck("put-back") when the store lacks what this gateway's key signed.
    """
    keys = keys_of(credential)
    path = f"/v1/gateways/{device_text(keys[0].thumbprint())}/heads"
    for _ in range(limits.HEADS_PAGES_MAX):
        try:
            page = _pages.decode(http.get(f"{path}?after={after}"))
        except Refusal as error:
            if error.status >= _NO_ANSWER_YET or error.status == _TOO_MANY:
                raise
            return  # a validator of before this was asked
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Malformed("bad-value", f"heads of this gateway: {error}") from error
        for row in page.heads:
            _check_head(reader, from_b64u(row.statement, len(row.statement) * 3 // 4), keys)
        if page.next is None or page.next <= after:
            return
        after = page.next
    # Of an honest validator the first page already shows what the store lacks: its cursor is at
    # most a batch behind. One that pads its answer could as well show nothing, so it stops nobody.
    _log.warning(
        "a validator shows too many heads of this gateway; those above are not compared",
        validator=http.url,
        above=after,
        pages=limits.HEADS_PAGES_MAX,
    )


def _check_head(reader: sqlite3.Connection, data: bytes, keys: list[PublicKey]) -> None:
    head = gatewayhead.parse(data)
    for key in keys:
        try:
            head.verify(key)
        except Unverified:
            continue
        break
    else:
        return  # not our word
    size = GatewayLog(reader).tree.size
    if head.size <= size and tree_at(reader, head.size).root() == head.root:
        return
    raise CouldNotCheck(
        "put-back",
        f"the store was lost or put back: it has {size} segments and lacks the head at {head.size} "
        "that this key signed; go on with the newest store, or with an empty one under a new key "
        "and enrolment",
    )
