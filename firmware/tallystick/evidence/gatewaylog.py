"""A leaf of a gateway's own log (docs/protocol.md, 6.1): one segment taken into custody."""

from tallystick.evidence import _shape as shape
from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence._wire import Wire
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.kinds import GATEWAY_LEAF
from tallystick.evidence.segment import Segment
from tallystick.evidence.tree import leaf_hash

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GATEWAY_LEAF_BYTES_MAX = 256


class GatewayLeaf(Wire):
    """Items `from_` to `to` of a device's log, the root there, the last checkpoint's digest."""

    def __init__(
        self, device: bytes, epoch: bytes, from_: int, to: int, root: bytes, checkpoint: bytes
    ) -> None:
        what = "gateway leaf"
        self.device = shape.octets(device, shape.ID_SIZE, what)
        self.epoch = shape.octets(epoch, shape.EPOCH_SIZE, what)
        self.from_ = shape.uint(from_, what)
        self.to = shape.uint(to, what)
        # An idle device's repeated head takes nothing new: then both are equal.
        if to < from_:
            raise Malformed("bad-value", "gateway leaf: its range ends before it begins")
        self.root = shape.octets(root, shape.HASH_SIZE, what)
        self.checkpoint = shape.octets(checkpoint, shape.HASH_SIZE, what)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            GATEWAY_LEAF,
            self.device,
            self.epoch,
            self.from_,
            self.to,
            self.root,
            self.checkpoint,
        ]

    def leaf_hash(self) -> bytes:
        """The leaf itself: RFC 9162, without salt."""
        return leaf_hash(self.encode())


def parse(data: bytes) -> GatewayLeaf:
    """The leaf of one encoding; Malformed with a reason of docs/protocol.md, 1.7."""
    leaf = GatewayLeaf(*shape.fields(data, GATEWAY_LEAF, 6, GATEWAY_LEAF_BYTES_MAX, "gateway leaf"))
    leaf._data = data
    return leaf


def leaf_of(segment: Segment) -> GatewayLeaf:
    """What a gateway logs of a segment; Unverified when its last checkpoint is of another log."""
    # Signatures and roots are not looked at here: whoever takes the segment has done so or will.
    last = checkpoints.parse(segment.stretches[-1].checkpoint)
    segment.head = last
    if last.device != segment.device or last.epoch != segment.epoch:
        raise Unverified("wrong-device", "a segment's checkpoint is of another log")
    if last.size != segment.to:
        raise Unverified("bad-stretch", "a segment's last checkpoint is of another size")
    return GatewayLeaf(
        segment.device, segment.epoch, segment.first, segment.to, last.root, last.digest
    )
