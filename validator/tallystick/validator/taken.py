"""A verified segment on its way into a log, stretch by stretch, body by body."""

from collections.abc import Iterator

from tallystick.evidence.checkpoint import VerifiedCheckpoint
from tallystick.evidence.leaf import salt as salt_at
from tallystick.evidence.segment import Stretch, VerifiedSegment
from tallystick.evidence.tree import Tree
from tallystick.validator.devicelog import Held

_DECISION = b"\x87\x00"  # an array of seven, of kind 0


class Taken:
    """A verified segment and the tree that it was verified on."""

    def __init__(self, verified: VerifiedSegment, base: Tree | None) -> None:
        self.verified = verified
        self.first = verified.first
        self.to = verified.to
        edge = verified.segment.edge
        if base is not None:
            self.base = base.copy()
        else:
            self.base = Tree() if edge is None else Tree(verified.first, edge.hashes)

    def stretches(self, log: int) -> Iterator[tuple[Held, VerifiedCheckpoint]]:
        """Each stretch with the tree's edge before it."""
        tree = self.base.copy()
        last = len(self.verified.stretches) - 1
        received = self.verified.segment
        # A segment of one stretch and no edge is what is stored of it (devicelog.pack).
        packed = None if last or received.edge is not None else received.encode()
        for nth, stretch in enumerate(self.verified.segment.stretches):
            checked = self.verified.stretches[nth]
            held = Held(log, tree.edge[:], stretch, checked.leaves, packed)
            yield held, checked.checkpoint
            if nth == last:
                return
            for _, level, node in held.leaves():
                tree.push_subtree(level, node)


class Bodies:
    """A stretch whose bodies are looked at: those whose indexes are in `fresh`, all when None."""

    def __init__(
        self,
        held: Held,
        head: VerifiedCheckpoint,
        entry: int,
        fresh: set[int] | None,
        *,
        unseen: bool = False,
        branch: bool = False,
    ) -> None:
        self.held = held
        self.head = head
        self.entry = entry
        self.fresh = fresh
        self.unseen = unseen
        self.branch = branch

    def records(self) -> Iterator[tuple[int, bytes, bytes, int]]:
        """(index, leaf, record, how many records stand before it) of each."""
        nth = 0
        for (at, _, leaf), item in zip(self.held.leaves(), self.held.stretch.items, strict=True):
            if isinstance(item, bytes):
                if self.fresh is None or at in self.fresh:
                    yield at, leaf, item, nth
                nth += 1

    def read(self) -> "tuple[int, list[tuple[int, bytes, bytes, int]]]":
        """How many are decisions, which stay opaque; every other one, as `records` gives it."""
        items = self.held.stretch.items
        if self.fresh is not None or self.held.stretch.elided:
            found = list(self.records())
            others = [one for one in found if one[2][:2] != _DECISION]
            return len(found) - len(others), others
        # Most stretches: all bodies are here, and nearly all of them are decisions.
        places = [nth for nth, item in enumerate(items) if item[:2] != _DECISION]
        leaves = self.held.leaves() if places else []
        others = [
            (at, leaf, item, nth)
            for nth in places
            for at, _, leaf in leaves[nth : nth + 1]
            if isinstance(item := items[nth], bytes)
        ]
        return len(items) - len(others), others

    def salt(self, index: int, nth: int) -> bytes:
        """The salt of the record at an index, the nth record of its stretch."""
        secret = self.held.stretch.secret
        if isinstance(secret, bytes):
            return salt_at(secret, index)
        return (secret or [])[nth]


def record_indexes(stretch: Stretch) -> set[int]:
    """Where its bodies are."""
    found = set()
    at = stretch.first
    for item in stretch.items:
        if isinstance(item, bytes):
            found.add(at)
            at += 1
        else:
            at += 1 << item[0]
    return found
