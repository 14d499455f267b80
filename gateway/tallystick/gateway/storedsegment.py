"""A row of `segments`, and whether it is as it was written."""

import zlib
from typing import NamedTuple

from tallystick.evidence.errors import TallyError
from tallystick.evidence.gatewaylog import GatewayLeaf

# One row of it makes a StoredSegment. A track that a flipped bit made unknown loses no row.
SELECT = (
    "SELECT s.at, s.track, t.device, t.epoch, s.first, s.until, s.root, s.checkpoint, s.edge, "
    "s.named, s.tail, s.crc, s.data FROM segments s LEFT JOIN tracks t USING (track) "
)


class StoredSegment(NamedTuple):
    """A stored segment, and the device and epoch of the track that it names."""

    at: int
    track: int
    device: bytes | None
    epoch: bytes | None
    first: int
    until: int
    root: bytes
    checkpoint: bytes
    edge: bytes
    named: bytes
    tail: int
    crc: int
    data: bytes

    def leaf(self) -> bytes | None:
        """The leaf hash that the columns give; None when they are none."""
        if self.device is None or self.epoch is None:
            return None
        try:
            return GatewayLeaf(
                self.device, self.epoch, self.first, self.until, self.root, self.checkpoint
            ).leaf_hash()
        except TallyError:
            return None

    def intact(self, node: bytes) -> bool:
        """Whether bytes and columns are those that were taken; `node` is its leaf in the log."""
        return (
            zlib.crc32(self.data) == self.crc
            and self.data[: -self.tail].endswith(_head(self.tail))
            and self.leaf() == node
        )


def _head(size: int) -> bytes:
    # The CBOR head of a byte string of this size: what stands before the last checkpoint.
    if not 0 < size < 1 << 16:
        return b"no such size"
    return bytes((0x58, size)) if size < 1 << 8 else bytes((0x59, *size.to_bytes(2, "big")))
