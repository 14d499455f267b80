"""The bytes of a segment, piece by piece (docs/protocol.md, 3.2)."""

# A device streams a segment from flash and never holds it whole: open_bytes, then for each stretch
# stretch_head, the items (item_head and the record's bytes, or elided_item), stretch_tail.

from tallystick.evidence.cbor import encode, head
from tallystick.evidence.kinds import SEGMENT


def open_bytes(
    device: bytes,
    epoch: bytes,
    first: int,
    edge: "tuple[bytes, list[bytes]] | None",
    stretches: int,
) -> bytes:
    """All before the first stretch; `edge` is (signed checkpoint, hashes) or None."""
    carried = None if edge is None else [edge[0], list(edge[1])]
    return (
        head(4, 6)
        + head(0, SEGMENT)
        + encode(device)
        + encode(epoch)
        + head(0, first)
        + encode(carried)
        + head(4, stretches)
    )


def stretch_head(items: int) -> bytes:
    """All before a stretch's first item."""
    return b"\x83" + head(4, items)


def item_head(record_size: int) -> bytes:
    """What stands before the bytes of a record."""
    return head(2, record_size)


def elided_item(level: int, node: bytes) -> bytes:
    """The whole item that stands for 2**level leaves."""
    return encode([level, node])


def stretch_tail(secret: "bytes | list[bytes] | None", checkpoint: bytes) -> bytes:
    """All after a stretch's last item; `secret` is the seed, a salt for each record, or None."""
    return encode(secret) + encode(checkpoint)
