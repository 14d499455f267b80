"""A leaf of a gateway's own log (docs/protocol.md, 6.1): one segment taken into custody."""

from tallystick.evidence import _shape as shape
from tallystick.evidence._wire import Wire
from tallystick.evidence.errors import Malformed
from tallystick.evidence.kinds import GATEWAY_LEAF
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
        self.device = device
        self.epoch = epoch
        self.from_ = from_
        self.to = to
        self.root = root
        self.checkpoint = checkpoint

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
    what = "gateway leaf"
    device, epoch, from_, to, root, checkpoint = shape.fields(
        data, GATEWAY_LEAF, 6, GATEWAY_LEAF_BYTES_MAX, what
    )
    shape.octets(device, shape.ID_SIZE, what)
    shape.octets(epoch, shape.EPOCH_SIZE, what)
    shape.uint(from_, what)
    # A repeated head of an idle device takes nothing new: then both are equal.
    if shape.uint(to, what) < from_:
        raise Malformed("bad-value", "gateway leaf: its range ends before it begins")
    shape.octets(root, shape.HASH_SIZE, what)
    shape.octets(checkpoint, shape.HASH_SIZE, what)
    leaf = GatewayLeaf(device, epoch, from_, to, root, checkpoint)
    leaf._data = data
    return leaf
