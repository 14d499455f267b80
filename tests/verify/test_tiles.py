"""Names and bytes of tiles, as C2SP tlog-tiles gives them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.evidence.errors import Malformed
from tallystick.verify import tiles
from tallystick.verify.tiles import Tile


def test_the_specifications_examples() -> None:
    assert Tile(0, 1234067).path == "tile/0/x001/x234/067"
    assert Tile(None, 0, 5).path == "tile/entries/000.p/5"
    of_70000 = list(tiles.tiles_of(70_000))
    level0 = [tile for tile in of_70000 if tile.level == 0]
    assert [tile.width for tile in level0] == [256] * 273 + [112]
    assert [tile for tile in of_70000 if tile.level == 1] == [Tile(1, 0), Tile(1, 1, 17)]
    assert [tile for tile in of_70000 if tile.level == 2] == [Tile(2, 0, 1)]
    assert [tile.width for tile in of_70000 if tile.level is None] == [256] * 273 + [112]
    of_256 = [tile for tile in tiles.tiles_of(256) if tile.level is not None]
    assert of_256 == [Tile(0, 0), Tile(1, 0, 1)]
    assert list(tiles.tiles_of(0)) == []


@pytest.mark.parametrize(
    "path",
    [
        *("tile/0/0", "tile/0/00", "tile/0/0000", "tile/00/000", "tile/64/000", "tile/-1/000"),
        *("tile/0/x000/000", "tile/0/x01/000", "tile/0/001/000", "tile/0/x001/x002", "tile/0"),
        *("tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/", "tile/0/000.p"),
        *("/tile/0/000", "tile/0/000/", "tile/entry/000", "tile/entries/000.p/999", "tile/0/+01"),
        *(
            "tile/0/\u0660\u0661\u0662",
            "tile/0/x999/x999/x999/x999/x999/x999/999",
            "tile/0/000\n",
            "",
            "checkpoint",
        ),
    ],
)
def test_there_is_one_spelling_of_each(path: str) -> None:
    with pytest.raises(Malformed):
        tiles.parse_path(path)


@given(
    st.none() | st.integers(0, tiles.LEVEL_MAX),
    st.integers(0, tiles.INDEX_MAX),
    st.integers(1, tiles.WIDTH),
)
def test_a_path_means_its_tile(level: int | None, index: int, width: int) -> None:
    tile = Tile(level, index, width)
    assert tiles.parse_path(tile.path) == tile


@given(st.lists(st.integers(0, 70_000), min_size=1, max_size=4))
def test_what_is_written_step_by_step_is_what_a_tree_has(steps: list[int]) -> None:
    sizes = sorted(steps)
    written: set[Tile] = set()
    since = 0
    for size in sizes:
        new = list(tiles.tiles_of(size, since))
        assert written.isdisjoint(new)
        written.update(new)
        assert set(tiles.tiles_of(size)) <= written
        assert all(tiles.width_at(tile, size) == tile.width for tile in new)
        since = size


def test_a_bundle_is_as_wide_as_it_should_be() -> None:
    data = tiles.encode_bundle([b"one", b"", b"x" * 300])
    assert data[:5] == b"\x00\x03one"
    assert tiles.parse_bundle(data, 3) == [b"one", b"", b"x" * 300]
    for width, cut, reason in (
        (2, data, "trailing-bytes"),
        (4, data, "truncated"),
        (3, data[:-1], "truncated"),
        (3, data + b"\x00", "trailing-bytes"),
        (4, data + b"\x00", "truncated"),
    ):
        with pytest.raises(Malformed) as error:
            tiles.parse_bundle(cut, width)
        assert error.value.reason == reason
    with pytest.raises(Malformed):
        tiles.encode_bundle([bytes(65_536)])
    with pytest.raises(Malformed):
        tiles.parse_tile(bytes(65), 2)
