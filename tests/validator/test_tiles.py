"""The log as tiles: over HTTP, and as files that hold together at any moment (tlog-tiles)."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from support.devices import Fleet
from support.validating import Room, load
from tallystick.evidence import note
from tallystick.evidence.entry import TimeEntry
from tallystick.evidence.errors import CouldNotCheck, Malformed
from tallystick.evidence.tree import leaf_hash, root_of
from tallystick.validator import steps
from tallystick.validator.putback import Published
from tallystick.validator.sequencer import Sequencer
from tallystick.validator.service import Service
from tallystick.validator.tilefiles import CHECKPOINT, TileFolder
from tallystick.verify import tiles
from tallystick.verify.tiles import Tile


def grow(sequencer: Sequencer, count: int) -> int:
    """Log some entries and publish; the size of the log."""

    def do(work: object) -> None:
        for _ in range(count - 2):
            work.group.add(TimeEntry(work.group.time_ms))  # type: ignore[attr-defined]  # a Work

    if count > 2:
        sequencer.ingest.transaction(do)
    return sequencer.log.publish().size


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(load(tmp_path_factory.mktemp("tiles"), [Fleet("acme")]))
    grow(made.sequencer, 700)
    made.start()
    yield made
    made.stop()


def test_the_served_tiles_are_those_of_the_checkpoint(service: Service) -> None:
    with httpx2.Client(base_url=service.url, timeout=60) as http:
        head = note.parse(http.get("/checkpoint").text)
        assert head.size > 512
        entries: list[bytes] = []
        leaves: list[bytes] = []
        nodes: list[bytes] = []
        for tile in tiles.tiles_of(head.size):
            answer = http.get("/" + tile.path, headers={"Accept-Encoding": "identity"})
            assert answer.status_code == 200, tile
            assert answer.headers["content-type"] == "application/octet-stream"
            assert "immutable" in answer.headers["cache-control"]
            assert int(answer.headers["content-length"]) == len(answer.content)
            if tile.level is None:
                entries += tiles.parse_bundle(answer.content, tile.width)
            elif tile.level == 0:
                leaves += tiles.parse_tile(answer.content, tile.width)
            else:
                nodes += tiles.parse_tile(answer.content, tile.width)
        assert leaves == [leaf_hash(entry) for entry in entries]
        assert root_of(leaves) == head.root
        assert nodes == [root_of(leaves[:256]), root_of(leaves[256:512])]
        # Narrower ones are there for readers of older checkpoints, wider ones never.
        whole = http.get("/" + Tile(0, 0).path).content
        for width in (1, 17, 255):
            assert http.get("/" + Tile(0, 0, width).path).content == whole[: 32 * width]
        narrow = http.get("/" + Tile(None, 1, 3).path).content
        assert tiles.parse_bundle(narrow, 3) == entries[256:259]


@pytest.mark.parametrize(
    ("accepts", "packed"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("gzip;q=1.0, identity", True),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000, *", False),
        ("xgzip", False),
    ],
)
def test_bundles_are_compressed_for_who_asks(
    service: Service, accepts: str, *, packed: bool
) -> None:
    path = "/" + Tile(None, 0).path
    with httpx2.Client(base_url=service.url, timeout=60) as http:
        plain = http.get(path, headers={"Accept-Encoding": "identity"})
        answer = http.get(path, headers={"Accept-Encoding": accepts})
        assert answer.content == plain.content
        assert answer.headers["vary"] == "Accept-Encoding"
        assert (answer.headers.get("content-encoding") == "gzip") is packed


def test_no_tile_is_beyond_the_published_checkpoint(service: Service) -> None:
    with httpx2.Client(base_url=service.url, timeout=60) as http:
        size = note.parse(http.get("/checkpoint").text).size
        last = size - 512
        for path in (
            Tile(0, 2, last + 1).path,
            Tile(0, 2).path,
            Tile(0, 3, 1).path,
            Tile(None, 2, last + 1).path,
            Tile(1, 0).path,
            Tile(1, 0, 3).path,
            Tile(2, 0, 1).path,
            Tile(63, 0, 1).path,
            Tile(0, tiles.INDEX_MAX, 1).path,
            *(
                "tile/0/0",
                "tile/0/000.p/256",
                "tile/x",
                "tile/%2E%2E/v1/status",
                "tile/0/000/",
                "tile/",
            ),
        ):
            answer = http.get("/" + path)
            assert answer.status_code == 404, path
            assert answer.headers["content-type"] == "application/problem+json"
        assert http.get("/tile/0/000?x=1").status_code == 400


# --- as files ----------------------------------------------------------------------------------


@pytest.fixture
def folder(room: Room, tmp_path: Path) -> TileFolder:
    return opened(room, tmp_path / "files")


def opened(room: Room, path: Path) -> TileFolder:
    sequencer = room.sequencer
    made = TileFolder(path, sequencer.store, Published(sequencer.store, sequencer.keys))
    made.open()
    return made


def files(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


def whole(path: Path) -> int:
    """The size of the checkpoint in a folder, after everything under it was checked."""
    head = note.parse((path / CHECKPOINT).read_text())
    leaves: list[bytes] = []
    for tile in tiles.tiles_of(head.size):
        file = path / tile.path
        data = (file if file.exists() else path / tile.full.path).read_bytes()
        if tile.level == 0:
            leaves += tiles.parse_tile(data, len(data) // 32)[: tile.width]
    assert root_of(leaves) == head.root
    return head.size


def test_files_grow_with_the_log_and_partial_ones_go(
    room: Room, folder: TileFolder, tmp_path: Path
) -> None:
    path = tmp_path / "files"
    sizes = []
    for count in (0, 3, 240, 30, 300):
        size = grow(room.sequencer, count)
        assert folder.write() is True
        assert whole(path) == size
        assert folder.write() is False
        sizes.append(size)
    expected = {tile.path for tile in tiles.tiles_of(sizes[-1])} | {CHECKPOINT}
    # Of a tile that is full only the full one is there; of others each width that was published.
    older = {
        tile.path
        for size in sizes
        for tile in tiles.tiles_of(size)
        if tiles.width_at(tile, sizes[-1]) < tiles.WIDTH
    }
    assert set(files(path)) == expected | older
    # Another process goes on where this one ended, and a repeated write changes nothing.
    before = files(path)
    again = opened(room, path)
    assert again.size == sizes[-1]
    assert again.write() is False
    shutil.rmtree(path)
    fresh = opened(room, path)
    fresh.write()
    assert all(before[name] == data for name, data in files(path).items())


def test_a_crash_before_the_checkpoint_leaves_the_old_one_whole(
    room: Room, folder: TileFolder, tmp_path: Path
) -> None:
    path = tmp_path / "files"
    grow(room.sequencer, 250)
    folder.write()
    size = whole(path)
    grow(room.sequencer, 300)

    def stop(point: str) -> None:
        if point == steps.TILED:
            raise RuntimeError

    steps.on_step(stop)
    try:
        with pytest.raises(RuntimeError):
            folder.write()
    finally:
        steps.on_step(None)
    assert whole(path) == size
    # Half a file of a crash is no tile, and is written over.
    (path / "tile/0/001").unlink()
    (path / "tile/0/001.writing").write_bytes(b"half")
    again = opened(room, path)
    again.write()
    assert whole(path) > size
    assert not [name for name in files(path) if name.endswith(".writing")]


def test_a_file_with_other_bytes_stops_the_writing(
    room: Room, folder: TileFolder, tmp_path: Path
) -> None:
    path = tmp_path / "files"
    grow(room.sequencer, 10)
    folder.write()
    size = grow(room.sequencer, 20)
    wrong = path / Tile(0, 0, size).path
    wrong.write_bytes(bytes(32 * size))
    with pytest.raises(CouldNotCheck, match="a tile never changes"):
        folder.write()
    assert whole(path) < size


def test_a_folder_is_one_logs_alone(room: Room, folder: TileFolder, tmp_path: Path) -> None:
    path = tmp_path / "files"
    grow(room.sequencer, 10)
    folder.write()
    other = Room(tmp_path / "other", [Fleet("acme")], owner="other")
    try:
        with pytest.raises(Malformed, match="give each log a folder of its own"):
            opened(other, path)
    finally:
        other.close()
    for text in ("", "x", "\udcff"):
        (path / CHECKPOINT).write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(Malformed):
            opened(room, path)


def test_a_folder_that_is_ahead_of_the_store_stops_the_validator(tmp_path: Path) -> None:
    """F17: the store is yesterday's, the folder is not."""
    settings = {"tiles": f'"{tmp_path / "files"}"'}
    config = load(tmp_path / "validator", [Fleet("acme")], **settings)
    first = Sequencer(config)
    grow(first, 10)
    first.stop()
    shutil.copytree(tmp_path / "validator", tmp_path / "backup")
    first = Sequencer(config)
    grow(first, 10)
    assert first.tiles is not None
    first.tiles.write()
    first.stop()
    shutil.rmtree(tmp_path / "validator")
    shutil.copytree(tmp_path / "backup", tmp_path / "validator")
    with pytest.raises(CouldNotCheck, match="restored from an older copy") as error:
        Sequencer(config)
    assert error.value.reason == "put-back"
