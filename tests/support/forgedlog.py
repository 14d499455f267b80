"""A log with any entries, properly signed, as a folder of tiles."""

from pathlib import Path

from tallystick.evidence import note
from tallystick.evidence.entry import TimeEntry
from tallystick.evidence.genesis import Genesis
from tallystick.evidence.note import Note
from tallystick.evidence.tree import leaf_hash, root_of
from tallystick.hw.signer import Signer
from tallystick.verify import tiles
from tallystick.verify.tiles import tiles_of

START_MS = 1_790_000_000_000


class Forger:
    """Writes the tile folder of a log with any entries, properly signed."""

    def __init__(self, folder: Path, origin: str = "forger.example/log") -> None:
        folder.mkdir()
        self.folder = folder
        self.receipts = Signer.create(f"file:{folder / 'receipts.key'}")
        self.notes = Signer.create(f"file:{folder / 'notes.key'}")
        self.key = note.NoteKey(origin, self.notes.public_key())
        made = Genesis("forger", origin, self.receipts.public_key(), self.key, {}, START_MS)
        id_ = self.receipts.public_key().thumbprint()
        self.entries = [made.sign(self.receipts, "forger", id_)]

    def times(self, count: int, since_ms: int = START_MS) -> None:
        self.entries += [TimeEntry(since_ms + at).encode() for at in range(count)]

    def write(self, name: str, size: int | None = None) -> Path:
        """The folder of the first `size` entries."""
        entries = self.entries[:size]
        path = self.folder / name
        leaves = [leaf_hash(entry) for entry in entries]
        for tile in tiles_of(len(entries)):
            file = path / tile.path
            file.parent.mkdir(parents=True, exist_ok=True)
            width = 256 ** (tile.level or 0)
            at = range(tile.first, tile.first + tile.width)
            if tile.level is None:
                file.write_bytes(tiles.encode_bundle([entries[i] for i in at]))
            else:
                nodes = [root_of(leaves[i * width : (i + 1) * width]) for i in at]
                file.write_bytes(b"".join(nodes))
        head = Note(self.key.name, len(entries), root_of(leaves), [])
        (path / "checkpoint").write_text(head.sign(self.notes, self.key.name).text())
        return path
