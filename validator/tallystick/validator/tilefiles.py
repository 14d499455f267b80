"""The log as files that any web server or object store can serve (docs/protocol.md, 8.3).

Tiles and bundles first, then the checkpoint over them; each written aside, synced, renamed. So
whatever a reader finds in the folder belongs together, at any moment and after any crash.
"""

import os
import threading
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from tallystick.evidence import note as notes
from tallystick.evidence.errors import CouldNotCheck, Malformed, TallyError, Unverified
from tallystick.evidence.limits import LOG_CHECKPOINT_BYTES_MAX
from tallystick.validator import steps, tileserving
from tallystick.validator.cosigned import best_text
from tallystick.validator.limits import TILES_EVERY_S, TILES_RETRY_S_MAX
from tallystick.validator.putback import Published
from tallystick.validator.store import Store
from tallystick.verify.tiles import WIDTH, Tile, tiles_of

CHECKPOINT = "checkpoint"
_ASIDE = ".writing"
_log = structlog.get_logger("tallystick.validator.tiles")


class TileFolder:
    """A folder that is this log's alone, as far as `size` entries."""

    def __init__(self, folder: Path, store: Store, published: Published) -> None:
        self._folder = folder
        self._store = store
        self._published = published
        self._text = ""
        self.size = 0

    def open(self) -> None:
        """See what is there: Malformed when it is another log's, CouldNotCheck("put-back")."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / CHECKPOINT
        if not path.exists():
            return
        with path.open("rb") as file:
            data = file.read(LOG_CHECKPOINT_BYTES_MAX + 1)
        try:
            note = self._published.compare(data.decode(), f"the folder {self._folder}")
        except (Unverified, Malformed, UnicodeDecodeError):
            raise Malformed(
                "bad-value",
                f"tiles: {path} is no checkpoint of {self._published.key.name} by its note key; "
                "give each log a folder of its own",
            ) from None
        self.size, self._text = note.size, note.text()

    def write(self) -> bool:
        """Bring the folder to the checkpoint that is served now; whether there was anything."""
        with self._store.read() as connection:
            text = best_text(connection)
        note = notes.parse(text)
        if text == self._text or note.size < self.size:
            return False
        written = list(tiles_of(note.size, self.size))
        for tile in written:
            self._put(tile)
        for folder in {self._folder / Path(tile.path).parent for tile in written}:
            self._sync_up(folder)
        steps.passed(steps.TILED)
        self._replace(self._folder / CHECKPOINT, text.encode())
        _sync(self._folder)
        for tile in written:
            self._prune(tile)
        self.size, self._text = note.size, text
        return True

    def _put(self, tile: Tile) -> None:
        with self._store.read() as connection:
            if tile.level is None:
                data = tileserving.bundle_part(connection, tile.first, tile.width)
            else:
                data = tileserving.hashes(connection, tile)
        path = self._folder / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            if path.read_bytes() != data:
                raise CouldNotCheck(
                    "bad-value", f"tiles: {path} is there with other bytes; a tile never changes"
                )
            return
        self._replace(path, data)

    def _replace(self, path: Path, data: bytes) -> None:
        aside = path.with_name(path.name + _ASIDE)
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)

    def _sync_up(self, folder: Path) -> None:
        # A folder's name is durable when the folder above it is synced.
        while folder != self._folder.parent:
            _sync(folder)
            folder = folder.parent

    def _prune(self, tile: Tile) -> None:
        partial = self._folder / f"{tile.path}.p"
        if tile.width != WIDTH or not partial.is_dir():
            return
        for path in partial.iterdir():
            path.unlink()
        partial.rmdir()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class TileWriter:
    """A thread that keeps the folder up to date until stopped."""

    def __init__(self, folder: TileFolder, stop: threading.Event) -> None:
        self._folder = folder
        self._stop = stop
        self._thread = threading.Thread(target=self._run, name="tiles", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for its end."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stop.wait(wait_s):
            try:
                self._folder.write()
            except (TallyError, OSError, SQLAlchemyError) as error:
                # The log goes on; what is served as files stays as it was.
                _log.error("tiles are not written", error=str(error))
                wait_s = min(TILES_RETRY_S_MAX, 2 * max(wait_s, TILES_EVERY_S))
            else:
                wait_s = TILES_EVERY_S
