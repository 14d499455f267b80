"""Tiles and entry bundles from the store (C2SP tlog-tiles; docs/protocol.md, 8.3)."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence.errors import CouldNotCheck
from tallystick.validator import schema
from tallystick.validator.portable import total
from tallystick.validator.queries import missing, published
from tallystick.verify.tiles import LENGTH_SIZE, Tile, encode_bundle, width_at


def check(connection: Connection, tile: Tile) -> None:
    """404 unless the newest published checkpoint reaches the tile, in this width."""
    if width_at(tile, published(connection)) < tile.width:
        raise missing("tile")


def hashes(connection: Connection, tile: Tile) -> bytes:
    """The hashes of a tile of the tree."""
    if tile.tree_level == 0:
        table = schema.entries
        place, column = table.c.entry, table.c.leaf
        query = sa.select(column).where(_within(place, tile)).order_by(place)
    else:
        nodes = schema.nodes
        place, column = nodes.c.at, nodes.c.hash
        here = (nodes.c.level == tile.tree_level) & _within(place, tile)
        query = sa.select(column).where(here).order_by(place)
    found = list(connection.execute(query).scalars())
    if len(found) != tile.width:
        raise CouldNotCheck("bad-root", f"the store lacks nodes of {tile.path} of its log")
    return b"".join(found)


def _within(place: "sa.ColumnElement[int]", tile: Tile) -> "sa.ColumnElement[bool]":
    return (place >= tile.first) & (place < tile.first + tile.width)


def bundle_size(connection: Connection, tile: Tile) -> int:
    """How many bytes the bundle has."""
    table = schema.entries
    query = sa.select(total(sa.func.length(table.c.data))).where(_within(table.c.entry, tile))
    size: int = connection.execute(query).scalar_one()
    return size + tile.width * LENGTH_SIZE


def bundle_part(connection: Connection, first: int, count: int) -> bytes:
    """The bytes of some entries of a bundle."""
    table = schema.entries
    rows = connection.execute(
        sa.select(table.c.data)
        .where(table.c.entry >= first, table.c.entry < first + count)
        .order_by(table.c.entry)
    )
    found = list(rows.scalars())
    if len(found) != count:
        raise CouldNotCheck("bad-root", f"the store lacks entries from {first} on")
    return encode_bundle(found)
