"""What the gateway knows of one device's log: its tracks, and what is parked beside them.

A track is a piece of a log without holes, from `began` to `size`, with the tree at both ends. A
healthy log is one track from 0. More than one are pieces that do not touch yet (something came
early with an edge, or the device was at another gateway meanwhile) or the branches of a fork.
"""

from dataclasses import dataclass, field

from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence.tree import Tree

HASH_SIZE = 32


def edge_bytes(tree: Tree) -> bytes:
    """The edge as it is stored: hashes joined."""
    return b"".join(tree.edge)


def tree_from(size: int, edge: bytes) -> Tree:
    """The tree of a stored edge."""
    hashes = [edge[at : at + HASH_SIZE] for at in range(0, len(edge), HASH_SIZE)]
    return Tree(size, hashes)


@dataclass(slots=True, eq=False)
class Track:
    """One piece of one device's log; `head` is its newest checkpoint, a statement."""

    track: int
    device: bytes
    epoch: bytes
    began: int
    base_root: bytes  # at `began`
    tree: Tree
    root: bytes
    head: bytes
    # No item from here on is elided: what a custody receipt with bodies speaks of.
    bodies_from: int
    custody: bytes | None = None  # the newest receipt
    custody_to: int = -1
    # The newest receipt over elided items; a device may lack it when it has newer ones.
    custody_elided: bytes | None = None
    elided_to: int = -1
    order: tuple[int, int] = (0, 0)  # (boot, uptime_ms) of the head
    head_digest: bytes = b""

    @property
    def size(self) -> int:
        """The number of records up to the end of this piece."""
        return self.tree.size

    def set_head(self, head: bytes, digest: bytes, order: tuple[int, int], root: bytes) -> None:
        """Take a newer head: the statement, its digest, (boot, uptime_ms) and root."""
        self.head = head
        self.head_digest = digest
        self.order = order
        self.root = root

    def covers(self, first: int, to: int) -> bool:
        """Whether nothing of [first, to) is outside."""
        return self.began <= first and to <= self.tree.size

    def receipts(self) -> list[bytes]:
        """The newest custody receipts, the newest of all last."""
        found = [self.custody_elided, self.custody]
        if self.began < self.bodies_from == self.size:
            found.reverse()  # the end is elided, so what was said of bodies is older
        return [receipt for receipt in found if receipt is not None]

    def absorb(self, other: "Track") -> None:
        """Take over the piece that begins where this one ends."""
        if other.bodies_from > other.began:
            self.bodies_from = other.bodies_from
        if other.size > self.size or other.order > self.order:
            self.head = other.head
            self.head_digest = other.head_digest
            self.order = other.order
        self.tree = other.tree
        self.root = other.root
        # A receipt that begins at other's own beginning says less than one can be said now.
        self.custody_to = -1
        self.elided_to = -1


def restored(row: tuple[int, bytes, bytes, int, bytes, int, bytes, bytes, int]) -> Track:
    """A track from its row, without custody."""
    track, device, epoch, began, base_root, size, edge, head, bodies_from = row
    checkpoint = checkpoints.parse(head)
    return Track(
        track=track,
        device=device,
        epoch=epoch,
        began=began,
        base_root=base_root,
        tree=tree_from(size, edge),
        root=checkpoint.root,
        head=head,
        bodies_from=bodies_from,
        order=(checkpoint.boot, checkpoint.uptime_ms),
        head_digest=checkpoint.digest,
    )


@dataclass(slots=True, eq=False)
class Log:
    """One (device, epoch): tracks, parked segments, whether its device left it."""

    device: bytes
    epoch: bytes
    tracks: list[Track] = field(default_factory=list)
    # parked number -> (first index, bytes, digest of its last checkpoint)
    parked: dict[int, tuple[int, int, bytes]] = field(default_factory=dict)
    frozen_at: int | None = None
    opened: bool = False
    begun: bool = False  # its first record was seen
    contradicting: set[tuple[int, int]] = field(default_factory=set)

    def known_to(self) -> int:
        """The end of the piece that reaches farthest; 0 when nothing is known."""
        return max((track.size for track in self.tracks), default=0)

    def hole(self, before: int) -> int:
        """Where what is known before `before` ends: what to ask a device for."""
        return max((track.size for track in self.tracks if track.size <= before), default=0)
