"""Reading a log by its tiles (docs/protocol.md, 8.3): entries in order, folded to a checkpoint.

Pure: `fetch` gets the bytes of a path below the log's prefix, from a server, a folder, a store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tallystick.evidence.errors import TransportError, Unverified
from tallystick.evidence.note import Note
from tallystick.evidence.tree import Tree, leaf_hash, node_hash, root_of
from tallystick.verify import tiles
from tallystick.verify.tiles import WIDTH, Tile

Fetch = Callable[[str, int], bytes]  # path, most bytes; TransportError("missing") for no such path


def fetch_tile(fetch: Fetch, tile: Tile) -> bytes:
    """The bytes of a tile or bundle as wide as asked, of the full one where the other is gone."""
    bundle = tile.level is None
    most = tiles.BUNDLE_BYTES_MAX if bundle else tiles.TILE_BYTES_MAX
    try:
        return fetch(tile.path, most)
    except TransportError as error:
        if error.reason != "missing" or tile.width == WIDTH:
            raise
    # Partial tiles go when their full one is there (tlog-tiles, "Partial Tiles").
    data = fetch(tile.full.path, most)
    if not bundle:
        return data[: tile.width * tiles.HASH_SIZE]
    return tiles.encode_bundle(tiles.parse_bundle(data, WIDTH)[: tile.width])


def entries(fetch: Fetch, first: int, size: int) -> Iterator[tuple[int, list[bytes]]]:
    """Entries from `first` on up to a size, bundle by bundle: (index of the first one, they)."""
    for number in range(first // WIDTH, (size + WIDTH - 1) // WIDTH):
        begin = number * WIDTH
        tile = Tile(None, number, min(WIDTH, size - begin))
        found = tiles.parse_bundle(fetch_tile(fetch, tile), tile.width)
        skipped = max(0, first - begin)
        yield begin + skipped, found[skipped:]


def follow(
    fetch: Fetch, known: Tree, note: Note, each: Callable[[int, bytes], None] | None = None
) -> Tree:
    """Read from a tree's size on to a checkpoint; the checkpoint's tree.

    Unverified("bad-root") unless the known tree and the entries after it give the checkpoint's
    root: so a tree that was verified before is a prefix of this one. `each` gets every entry
    before that is known: what it makes of them counts only when this returns.
    """
    if note.size < known.size:
        raise Unverified(
            "bad-root", f"the checkpoint has size {note.size}, and {known.size} was seen before"
        )
    tree = known.copy()
    if note.size > known.size:
        for begin, found in entries(fetch, known.size, note.size):
            if each is not None:
                for at, entry in enumerate(found, begin):
                    each(at, entry)
            tree.extend([leaf_hash(entry) for entry in found])
    if tree.root() != note.root:
        raise Unverified(
            "bad-root", f"the entries do not give the root that was signed at size {note.size}"
        )
    return tree


class TileCheck:
    """Compares a log's tiles of hashes with its entries, which come in order."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._levels: list[list[bytes]] = [[]]
        self._done: list[int] = [0]
        self.tiles = 0

    def leaf(self, leaf: bytes) -> None:
        """The next entry's leaf hash; Unverified("bad-root") for a tile that differs."""
        self._push(0, leaf)

    def end(self) -> None:
        """Compare the partial tiles of the tree as it is now."""
        for level, hashes in enumerate(self._levels):
            if hashes:
                self._compare(Tile(level, self._done[level], len(hashes)), hashes)

    def _push(self, level: int, node: bytes) -> None:
        if level == len(self._levels):
            self._levels.append([])
            self._done.append(0)
        hashes = self._levels[level]
        hashes.append(node)
        if len(hashes) == WIDTH:
            self._compare(Tile(level, self._done[level]), hashes)
            self._done[level] += 1
            self._levels[level] = []
            self._push(level + 1, root_of(hashes))

    def _compare(self, tile: Tile, hashes: list[bytes]) -> None:
        if tiles.parse_tile(fetch_tile(self._fetch, tile), tile.width) != hashes:
            raise Unverified("bad-root", f"{tile.path} has other hashes than the log's entries")
        self.tiles += 1


class TileNodes:
    """Nodes of a tree from its tiles; what is made of them is checked against a known root."""

    def __init__(self, fetch: Fetch, size: int) -> None:
        self._fetch = fetch
        self._size = size
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    def __call__(self, level: int, at: int) -> bytes:
        """The complete node."""
        tile_level, up = divmod(level, tiles.HEIGHT)
        begin = at << up
        hashes = self._hashes(tile_level, begin // WIDTH)
        nodes = hashes[begin % WIDTH : begin % WIDTH + (1 << up)]
        while len(nodes) > 1:
            nodes = [node_hash(nodes[i], nodes[i + 1]) for i in range(0, len(nodes), 2)]
        return nodes[0]

    def _hashes(self, level: int, index: int) -> list[bytes]:
        found = self._tiles.get((level, index))
        if found is None:
            tile = Tile(level, index)
            tile = Tile(level, index, tiles.width_at(tile, self._size))
            found = tiles.parse_tile(fetch_tile(self._fetch, tile), tile.width)
            self._tiles[level, index] = found
        return found

    def root(self, size: int) -> bytes:
        """The root of the first `size` entries."""
        edge = []
        begin = 0
        for level in range(size.bit_length() - 1, -1, -1):
            if size >> level & 1:
                edge.append(self(level, begin >> level))
                begin += 1 << level
        return Tree(size, edge).root()
