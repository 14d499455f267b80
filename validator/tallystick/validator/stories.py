"""What gateways told this validator: their signed heads, and their logs in between, by hash."""

from typing import Annotated

import sqlalchemy as sa
from msgspec import Meta, Struct
from sqlalchemy.engine import Connection

from tallystick.evidence import cbor
from tallystick.evidence.keys import b64u
from tallystick.validator import answers, schema
from tallystick.validator.limits import GATEWAY_HEADS_PER_PAGE

Level = Annotated[int, Meta(ge=0, le=62)]


class GatewayItem(Struct):
    """An entry of a gateway's log by its hash, or an aligned subtree of them."""

    level: Level
    hash: answers.Digest


class GatewayHead(Struct):
    """A signed head, and the log from `first` to it, as its batch had it."""

    size: answers.Index
    statement: answers.Octets
    first: answers.Index
    edge: list[answers.Digest]
    items: list[GatewayItem]


class GatewayHeads(Struct):
    """A page of heads in the order of their sizes; ask again with `after` = `next`."""

    heads: list[GatewayHead]
    next: answers.Index | None


def heads_of(connection: Connection, id_: bytes, after: int) -> GatewayHeads:
    """Heads above a size; none of before this was kept."""
    table = schema.gateway_heads
    rows = connection.execute(
        sa.select(table)
        .where(table.c.gateway == id_, table.c.size > after, table.c.part.is_not(None))
        .order_by(table.c.size)
        .limit(GATEWAY_HEADS_PER_PAGE + 1)
    ).all()
    shown = [_head(row) for row in rows[:GATEWAY_HEADS_PER_PAGE]]
    more = len(rows) > GATEWAY_HEADS_PER_PAGE
    return GatewayHeads(shown, shown[-1].size if more else None)


def _head(row: "sa.Row[tuple[object, ...]]") -> GatewayHead:
    first, edge, items = cbor.decode(row.part)
    return GatewayHead(
        row.size,
        b64u(row.head),
        first,
        [b64u(node) for node in edge],
        [GatewayItem(level, b64u(node)) for level, node in items],
    )
