"""tiles.parse_path returns a tile whose path is exactly the input, or raises Malformed."""

from tallystick.evidence.errors import Malformed
from tallystick.verify import tiles

SEEDS = (b"tile/0/000", b"tile/entries/x001/x234/067.p/17", b"tile/63/999.p/255")


def target(data: bytes) -> None:
    try:
        got = tiles.parse_path(data.decode("utf-8", "surrogateescape"))
    except Malformed:
        return
    assert got.path.encode() == data
    assert 1 <= got.width <= tiles.WIDTH and got.index <= tiles.INDEX_MAX
