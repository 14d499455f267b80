"""A log as a folder of tiles, made of entries as they are given, good ones or not."""

from pathlib import Path

from tallystick.evidence.note import Note
from tallystick.evidence.tree import Tree, leaf_hash, node_hash
from tallystick.hw.signer import Signer
from tallystick.verify import tiles


def nodes_of(leaves: list[bytes]) -> list[list[bytes]]:
    """Complete nodes, level by level."""
    levels = [leaves]
    while len(levels[-1]) > 1:
        below = levels[-1]
        pairs = range(0, len(below) - 1, 2)
        levels.append([node_hash(below[at], below[at + 1]) for at in pairs])
    return levels


def publish(folder: Path, entries: list[bytes], signer: Signer, origin: str) -> Note:
    """Write checkpoint, tiles and bundles; the signed note."""
    folder.mkdir(parents=True, exist_ok=True)
    leaves = [leaf_hash(entry) for entry in entries]
    levels = nodes_of(leaves)
    for tile in tiles.tiles_of(len(entries)):
        end = tile.first + tile.width
        path = folder / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if tile.level is None:
            path.write_bytes(tiles.encode_bundle(entries[tile.first : end]))
        else:
            path.write_bytes(b"".join(levels[tile.tree_level][tile.first : end]))
    tree = Tree()
    tree.extend(leaves)
    note = Note(origin, tree.size, tree.root(), []).sign(signer, origin)
    (folder / "checkpoint").write_text(note.text())
    return note
