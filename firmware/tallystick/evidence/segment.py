"""Segment: [13, device, epoch, first, edge / null, [ + [items, secret, checkpoint] ]]."""

# docs/protocol.md, 3.2.  The gateway's and the validator's hot path: a record costs two and a half
# SHA-256 (salt, leaf, node) and little beside; a signature is shared by a stretch.

from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import leaf as leaves_of
from tallystick.evidence import segmentwriter as writer
from tallystick.evidence._segmentreader import Reader
from tallystick.evidence._wire import Wire
from tallystick.evidence.checkpoint import VerifiedCheckpoint
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import PublicKey, device_text
from tallystick.evidence.limits import (
    SEGMENT_BYTES_MAX,
    SEGMENT_ITEMS_MAX,
    SEGMENT_STRETCHES_MAX,
)
from tallystick.evidence.tree import Tree, edge_length, fold

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.evidence._segmentreader import Item, Secret
    from tallystick.evidence.credential import Identity


def _width(item: "Item") -> int:
    return 1 if isinstance(item, bytes) else 1 << item[0]


def _salt_of(stretch: "Stretch | VerifiedStretch", index: int) -> bytes:
    at = stretch.first
    nth = 0
    for item in stretch.items:
        record = isinstance(item, bytes)
        if at == index and record:
            if isinstance(stretch.secret, bytes):
                return leaves_of.salt(stretch.secret, index)
            if stretch.secret is not None:
                return stretch.secret[nth]
        at += _width(item)
        nth += record
    raise Malformed("bad-stretch", "there is no record at index %d of the stretch" % index)


class Edge:
    """The tree's edge at `first`, and the signed checkpoint of exactly that size."""

    def __init__(self, checkpoint: bytes, hashes: list[bytes]) -> None:
        self.checkpoint = checkpoint
        self.hashes = hashes


class Stretch:
    """Items between two checkpoints; secret: the seed, a salt for each record, or None."""

    # `first` and `to` are given by the segment that holds it; `elided` counts the items that are
    # no records.
    first = 0
    to = 0

    def __init__(
        self,
        items: "list[Item]",
        secret: "Secret",
        checkpoint: bytes,
        elided: int | None = None,
    ) -> None:
        if elided is None:
            elided = len([item for item in items if not isinstance(item, bytes)])
        records = len(items) - elided
        if (secret is None) != (records == 0):
            raise Malformed(
                "bad-stretch", "a stretch has a secret where and only where it has records"
            )
        if isinstance(secret, list) and len(secret) != records:
            raise Malformed("bad-stretch", "a stretch must have one salt for each record")
        self.items = items
        self.secret = secret
        self.checkpoint = checkpoint
        self.elided = elided

    def salt_of(self, index: int) -> bytes:
        """The salt of the record at this index of the log; Malformed when there is none."""
        return _salt_of(self, index)

    def encode(self) -> bytes:
        """Its part of the segment's bytes."""
        parts = [writer.stretch_head(len(self.items))]
        for item in self.items:
            if isinstance(item, bytes):
                parts.append(writer.item_head(len(item)))
                parts.append(item)
            else:
                parts.append(writer.elided_item(item[0], item[1]))
        parts.append(writer.stretch_tail(self.secret, self.checkpoint))
        return b"".join(parts)


class Segment(Wire):
    """As received; nothing is verified.  `to` is the size after the last item."""

    # The checkpoint of its last stretch, once somebody has parsed it.
    head: "checkpoints.Checkpoint | None" = None

    def __init__(
        self, device: bytes, epoch: bytes, first: int, edge: Edge | None, stretches: list[Stretch]
    ) -> None:
        if first == 0 and edge is not None:
            raise Malformed("bad-edge", "a segment from index 0 has no edge")
        if edge is not None and len(edge.hashes) != edge_length(first):
            raise Malformed("bad-edge", "the edge does not have one hash for each bit of the size")
        if not 1 <= len(stretches) <= SEGMENT_STRETCHES_MAX:
            raise Malformed("too-large", "a segment must have 1 to 64 stretches")
        at = first
        items = 0
        for stretch in stretches:
            stretch.first = at
            at += len(stretch.items)
            items += len(stretch.items)
            if stretch.elided:
                # An elided item stands for 2**level leaves, not for one.
                for item in stretch.items:
                    at += _width(item) - 1
            stretch.to = at
        if items > SEGMENT_ITEMS_MAX:
            raise Malformed("too-large", "a segment has more than 4096 items")
        self.device = device
        self.epoch = epoch
        self.first = first
        self.edge = edge
        self.stretches = stretches
        self.to = at

    def encode(self) -> bytes:
        """The segment's bytes."""
        if self._data is None:
            edge = None if self.edge is None else (self.edge.checkpoint, self.edge.hashes)
            parts = [
                writer.open_bytes(self.device, self.epoch, self.first, edge, len(self.stretches))
            ]
            parts.extend([stretch.encode() for stretch in self.stretches])
            self._data = b"".join(parts)
        return self._data

    def trim(self, from_: int) -> "Segment":
        """Without the stretches before `from_`, which must be where a stretch begins."""
        if from_ == self.first:
            return self
        kept = [stretch for stretch in self.stretches if stretch.first >= from_]
        if not kept or kept[0].first != from_:
            raise Malformed("bad-value", "a segment is trimmed where one of its stretches begins")
        copies = [Stretch(s.items, s.secret, s.checkpoint, s.elided) for s in kept]
        return Segment(self.device, self.epoch, from_, None, copies)


def parse(data: bytes) -> Segment:
    """As received; Malformed with a reason of section 1.7."""
    if type(data) is not bytes:
        raise Malformed("bad-type", "segment: not bytes")
    if len(data) > SEGMENT_BYTES_MAX:
        raise Malformed("too-large", "segment: longer than %d bytes" % SEGMENT_BYTES_MAX)
    reader = Reader(data)
    try:
        reader.count(6)
        if reader.argument(0, 2**63) != 13:
            raise Malformed("unknown-kind", "segment: the first element is not kind 13")
        device = reader.octets(32, 32)
        epoch = reader.octets(8, 8)
        first = reader.argument(0, 2**63 - 1)
        edge = reader.edge()
        count = reader.argument(4, SEGMENT_STRETCHES_MAX)
        stretches = [Stretch(*reader.stretch()) for _ in range(count)]
    except IndexError:
        raise Malformed("truncated", "segment: the data ends")
    if reader.pos != len(data):
        raise Malformed("trailing-bytes", "segment: bytes after its end")
    segment = Segment(device, epoch, first, None if edge is None else Edge(*edge), stretches)
    segment._data = data
    return segment


class VerifiedStretch:
    """`checkpoint` is verified; `leaves`: the leaf hash of each item, None for a wider subtree."""

    def __init__(
        self, stretch: Stretch, checkpoint: VerifiedCheckpoint, leaves: "list[bytes | None]"
    ) -> None:
        self.first = stretch.first
        self.to = stretch.to
        self.items = stretch.items
        self.secret = stretch.secret
        self.elided = stretch.elided
        self.checkpoint = checkpoint
        self.leaves = leaves

    def salt_of(self, index: int) -> bytes:
        """The salt of the record at this index of the log; Malformed when there is none."""
        return _salt_of(self, index)

    def records(self) -> "Iterator[tuple[int, bytes, bytes]]":
        """(index, record, leaf hash) of each record."""
        at = self.first
        for item, leaf in zip(self.items, self.leaves):  # noqa: B905  # MicroPython has no strict
            if isinstance(item, bytes) and leaf is not None:
                yield at, item, leaf
            at += _width(item)


class VerifiedSegment:
    """`tree` after it; `began`: where knowledge begins when its own edge was used, else None."""

    def __init__(
        self, segment: Segment, tree: Tree, stretches: list[VerifiedStretch], began: int | None
    ) -> None:
        self.segment = segment
        self.device = segment.device
        self.epoch = segment.epoch
        self.first = segment.first
        self.to = segment.to
        self.tree = tree
        self.stretches = stretches
        self.began = began

    @property
    def checkpoint(self) -> VerifiedCheckpoint:
        """The last one."""
        return self.stretches[-1].checkpoint

    @property
    def bodies(self) -> bool:
        """No item is elided."""
        return not any(stretch.elided for stretch in self.stretches)


def verify_head(
    received: "checkpoints.Checkpoint", subject: str, epoch: bytes, key: "PublicKey | Identity"
) -> VerifiedCheckpoint:
    """A stretch's checkpoint: of this device's text and epoch, signed by the key."""
    if received.sub != subject:
        raise Unverified("wrong-device", "a checkpoint of another device than its segment's")
    if received.epoch != epoch:
        raise Unverified("bad-stretch", "a checkpoint of another epoch than its segment's")
    return received.verify(key if isinstance(key, PublicKey) else key.key_of(received))


def _checkpoint(
    data: bytes, segment: Segment, subject: str, key: "PublicKey | Identity"
) -> VerifiedCheckpoint:
    received = segment.head
    if received is None or data is not segment.stretches[-1].checkpoint:
        received = checkpoints.parse(data)
    return verify_head(received, subject, segment.epoch, key)


def _carried(
    edge: Edge, segment: Segment, subject: str, key: "PublicKey | Identity"
) -> VerifiedCheckpoint:
    verified = _checkpoint(edge.checkpoint, segment, subject, key)
    if verified.size != segment.first or fold(edge.hashes) != verified.root:
        raise Unverified("bad-edge", "the edge does not fold to a signed checkpoint of its size")
    return verified


def _fold(stretch: Stretch, tree: Tree) -> "list[bytes | None]":
    # Adds the stretch's items to the tree; the leaf hash of each.
    items = stretch.items
    secret = stretch.secret
    if not stretch.elided and isinstance(secret, bytes):
        leaves = leaves_of.leaves(secret, stretch.first, items)  # type: ignore[arg-type]  # all are records
        tree.extend(leaves)
        return leaves  # type: ignore[return-value]  # a list of bytes is one of bytes or None
    found: list[bytes | None] = []
    nth = 0
    for item in items:
        if isinstance(item, bytes):
            salt = (
                leaves_of.salt(secret, tree.size) if isinstance(secret, bytes) else secret[nth]  # type: ignore[index]  # Stretch counted the salts
            )
            nth += 1
            leaf = leaves_of.leaf(salt, item)
            tree.push(leaf)
            found.append(leaf)
        else:
            tree.push_subtree(item[0], item[1])
            found.append(None if item[0] else item[1])
    return found


def verify_segment(
    segment: Segment, key: "PublicKey | Identity", edge: Tree | None = None
) -> VerifiedSegment:
    """`edge`: the receiver's own tree at `first`, unchanged; None uses the segment's own edge.

    With an Identity each checkpoint must be by a key of its history and bear its fleet's name.
    """
    subject = device_text(segment.device)
    previous = None
    if segment.edge is not None:
        previous = _carried(segment.edge, segment, subject, key)
        if edge is not None and edge.size == segment.first and edge.root() != previous.root:
            raise Unverified("fork", "the segment continues another history than the known one")
    began = None
    if edge is not None:
        if edge.size != segment.first:
            raise Unverified("no-history", "the segment does not start where the known tree ends")
        tree = edge.copy()
    elif segment.edge is not None:
        tree = Tree(segment.first, segment.edge.hashes)
        began = segment.first
    elif segment.first == 0:
        tree = Tree()
    else:
        raise Unverified("no-history", "the segment starts beyond what is known, without an edge")
    verified = []
    for stretch in segment.stretches:
        head = _checkpoint(stretch.checkpoint, segment, subject, key)
        # So no subtree crosses a checkpoint.
        if head.size != stretch.to:
            raise Unverified("bad-stretch", "a stretch does not end at its checkpoint's size")
        if previous is not None:
            checkpoints.follows(previous, head)
        leaves = _fold(stretch, tree)
        if tree.root() != head.root:
            raise Unverified("bad-root", "the items do not give the signed root")
        verified.append(VerifiedStretch(stretch, head, leaves))
        previous = head
    return VerifiedSegment(segment, tree, verified, began)
