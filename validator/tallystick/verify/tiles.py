"""Tiles and entry bundles of a log (C2SP tlog-tiles; docs/protocol.md, 8.3): names and bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tallystick.evidence.errors import Malformed
from tallystick.evidence.limits import ENTRY_BYTES_MAX

WIDTH = 256
HEIGHT = 8
HASH_SIZE = 32
LEVEL_MAX = 63
INDEX_MAX = 2**63 - 1
LENGTH_SIZE = 2
TILE_BYTES_MAX = WIDTH * HASH_SIZE
BUNDLE_BYTES_MAX = WIDTH * (LENGTH_SIZE + ENTRY_BYTES_MAX)
PATH_CHARS_MAX = 64

_PATH = re.compile(
    r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True)
class Tile:
    """One resource: a tile of hashes at `level`, or the entry bundle where `level` is None.

    `width` is 1 to 256; a full one has no suffix in its path.
    """

    level: int | None
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Below the log's prefix, without a slash before it."""
        level = "entries" if self.level is None else str(self.level)
        suffix = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{level}/{_groups(self.index)}{suffix}"

    @property
    def full(self) -> Tile:
        """The full one with this index."""
        return Tile(self.level, self.index)

    @property
    def first(self) -> int:
        """Index, at its level of hashes, of its first one."""
        return self.index * WIDTH

    @property
    def tree_level(self) -> int:
        """The level of the tree that its hashes are of: 0 are leaves."""
        return 0 if self.level is None else self.level * HEIGHT


def _groups(index: int) -> str:
    last = f"{index % 1000:03}"
    rest = index // 1000
    groups = []
    while rest:
        groups.append(f"x{rest % 1000:03}")
        rest //= 1000
    return "/".join([*reversed(groups), last])


def parse_path(path: str) -> Tile:
    """The tile of a path such as `tile/0/x001/234.p/17`; Malformed for any other spelling."""
    match = _PATH.fullmatch(path) if len(path) <= PATH_CHARS_MAX else None
    if match is None:
        raise Malformed("bad-value", "a tile's path is tile/LEVEL/INDEX, with .p/WIDTH or without")
    level = None if match[1] == "entries" else int(match[1])
    index = int(match[2].replace("x", "").replace("/", ""))
    width = WIDTH if match[3] is None else int(match[3])
    tile = Tile(level, index, width)
    # Leading groups of zeroes, a partial tile as wide as a full one, levels that no tree has.
    if tile.path != path or width > WIDTH or (level or 0) > LEVEL_MAX or index > INDEX_MAX:
        raise Malformed("non-canonical", "a tile's path is not in its one spelling")
    return tile


def tiles_of(size: int, since: int = 0) -> Iterator[Tile]:
    """The tiles and bundles of a tree, with the widths that it has; none that `since` had alike.

    Bundles come first, then level after level.
    """
    level: int | None = None
    while True:
        shift = 0 if level is None else level * HEIGHT
        now, before = size >> shift, since >> shift
        if not now:
            return
        for index in range(before // WIDTH, (now + WIDTH - 1) // WIDTH):
            width = min(WIDTH, now - index * WIDTH)
            if index * WIDTH + width > before:
                yield Tile(level, index, width)
        level = 0 if level is None else level + 1


def width_at(tile: Tile, size: int) -> int:
    """How wide the tile with this level and index is in a tree of `size`; 0 where there is none."""
    return max(0, min(WIDTH, (size >> tile.tree_level) - tile.first))


def parse_tile(data: bytes, width: int) -> list[bytes]:
    """The hashes of a tile; Malformed unless exactly `width` of them."""
    if len(data) != width * HASH_SIZE:
        raise Malformed("bad-value", f"a tile of {width} hashes has {len(data)} bytes")
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Entries, each after its length."""
    parts = []
    for entry in entries:
        if len(entry) > ENTRY_BYTES_MAX:
            raise Malformed("too-large", f"an entry of {len(entry)} bytes")
        parts.append(len(entry).to_bytes(LENGTH_SIZE, "big") + entry)
    return b"".join(parts)


def parse_bundle(data: bytes, width: int) -> list[bytes]:
    """The entries of a bundle; Malformed unless exactly `width` of them."""
    entries: list[bytes] = []
    at = 0
    while at < len(data) and len(entries) < width:
        begin = at + LENGTH_SIZE
        end = begin + int.from_bytes(data[at:begin], "big")
        if begin > len(data) or end > len(data):
            raise Malformed("truncated", "an entry bundle ends inside an entry")
        entries.append(data[begin:end])
        at = end
    if len(entries) < width:
        raise Malformed("truncated", f"an entry bundle has {len(entries)} entries and not {width}")
    if at != len(data):
        raise Malformed("trailing-bytes", f"bytes follow the {width} entries of a bundle")
    return entries
