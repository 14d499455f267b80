"""What is stored of a track: its root, tree and checkpoint at any size within it."""

from tallystick.evidence import segment as segments
from tallystick.evidence.credential import Identity
from tallystick.evidence.segment import Edge, VerifiedSegment, verify_segment
from tallystick.evidence.tree import Tree
from tallystick.gateway.tracks import Log, Track, tree_from
from tallystick.gateway.view import Row, View


class History:
    """Reads the view; a row of the store is verified again where its inside is needed."""

    def __init__(self, view: View) -> None:
        self._view = view

    def root_at(self, track: Track, size: int, identity: Identity) -> bytes | None:
        """The root of a track at a size within it; None when an elided subtree hides it."""
        if size == track.size:
            return track.root
        if size == track.began:
            return track.base_root
        row = self._view.covering(track.track, size)
        if row is None:
            return None
        if row.until == size:
            return row.root
        tree = self._inside(row, size, identity)
        return None if tree is None else tree.root()

    def tree_at(self, track: Track, size: int, identity: Identity) -> Tree | None:
        """As root_at, the whole tree."""
        if size == track.size:
            return track.tree
        row = self._view.covering(track.track, size)
        return None if row is None else self._inside(row, size, identity)

    def _inside(self, row: Row, size: int, identity: Identity) -> Tree | None:
        base = tree_from(row.first, row.edge)
        if size == row.first:
            return base
        stored = segments.parse(row.data)
        return tree_in(base, verify_segment(stored, identity, base), size)

    def checkpoint_at(self, track: Track, size: int, identity: Identity) -> bytes | None:
        """A signed checkpoint of exactly this size; None when none is stored."""
        if size == track.size:
            return track.head
        row = self._view.covering(track.track, size)
        if row is None:
            return None
        verified = verify_segment(
            segments.parse(row.data), identity, tree_from(row.first, row.edge)
        )
        found = [s.checkpoint.encode() for s in verified.stretches if s.to == size]
        return found[-1] if found else None

    def edge_for(self, log: Log, before: Tree, identity: Identity) -> Edge | None:
        """The edge of a tree that some track passes through, with its signed checkpoint."""
        root = before.root()
        for track in log.tracks:
            if (
                track.began < before.size <= track.size
                and self.root_at(track, before.size, identity) == root
            ):
                signed = self.checkpoint_at(track, before.size, identity)
                if signed is not None:
                    return Edge(signed, list(before.edge))
        return None


def tree_in(base: Tree, verified: VerifiedSegment, size: int) -> Tree | None:
    """The tree at `size` inside a verified segment; None when a subtree hides it."""
    if size == verified.to:
        return verified.tree
    tree = base.copy()
    for stretch in verified.stretches:
        for item, leaf in zip(stretch.items, stretch.leaves, strict=True):
            if tree.size >= size:
                break
            if leaf is not None:
                tree.push(leaf)
            elif isinstance(item, tuple):
                tree.push_subtree(*item)
    return tree if tree.size == size else None
