"""A gateway's batch for one validator (docs/protocol.md, 6.2)."""

from tallystick.evidence import _shape as shape
from tallystick.evidence import cose, gatewayhead, gatewaylog, segment, statement
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.gatewayhead import VerifiedGatewayHead
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import BATCH
from tallystick.evidence.limits import (
    BATCH_BYTES_MAX,
    BATCH_CBOR_ITEMS_MAX,
    BATCH_ITEMS_MAX,
    BATCH_SEGMENTS_MAX,
    CREDENTIAL_STATEMENTS_MAX,
    PATH_HASHES_MAX,
    SEGMENT_BYTES_MAX,
    STATEMENT_BYTES_MAX,
)
from tallystick.evidence.segment import Segment
from tallystick.evidence.tree import Tree, edge_length

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LEVEL_MAX = 62


class Batch(statement.Signed):
    """As received; items are segments' bytes or (level, hash); `device` is the gateway's id."""

    def __init__(
        self,
        first: int,
        edge: list[bytes],
        items: "list[bytes | tuple[int, bytes]]",
        credentials: list[list[bytes]],
        receipts: list[bytes],
        missing: list[bytes],
        head: bytes,
    ) -> None:
        what = "batch"
        self.first = shape.uint(first, what)
        self.edge = shape.hashes(edge, PATH_HASHES_MAX, what)
        if len(edge) != edge_length(first):
            raise Malformed("bad-edge", "batch: the edge must have one hash for each bit of first")
        self.items = [_item(item) for item in shape.array(items, what, 0, BATCH_ITEMS_MAX)]
        if len([item for item in self.items if type(item) is bytes]) > BATCH_SEGMENTS_MAX:
            raise Malformed("too-large", "batch: more than %d segments" % BATCH_SEGMENTS_MAX)
        for credential in shape.array(credentials, what):
            for part in shape.array(credential, what, 1, CREDENTIAL_STATEMENTS_MAX):
                shape.blob(part, STATEMENT_BYTES_MAX, what)
        self.credentials = credentials
        self.receipts = shape.array(receipts, what)
        for receipt in receipts:
            shape.blob(receipt, STATEMENT_BYTES_MAX, what)
        self.missing = shape.hashes(missing, BATCH_CBOR_ITEMS_MAX, what)
        self.head = shape.blob(head, STATEMENT_BYTES_MAX, what)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            BATCH,
            self.first,
            self.edge,
            [item if isinstance(item, bytes) else list(item) for item in self.items],
            self.credentials,
            self.receipts,
            self.missing,
            self.head,
        ]


def _item(item: "Any") -> "bytes | tuple[int, bytes]":
    what = "batch item"
    if type(item) is bytes:
        return shape.blob(item, SEGMENT_BYTES_MAX, what)
    level, node = shape.row(list(item) if type(item) is tuple else item, 2, what)
    return shape.uint(level, what, LEVEL_MAX), shape.octets(node, shape.HASH_SIZE, what)


def parse(data: bytes) -> Batch:
    """A batch as received; Malformed with a reason of docs/protocol.md, 1.7."""
    # Counted before anything is decoded: 8 MiB of tiny items would become half a gigabyte.
    shape.blob(data, BATCH_BYTES_MAX, "batch")
    shape.bounded(data, BATCH_CBOR_ITEMS_MAX, "batch")
    payload = cose.parse(data, BATCH_BYTES_MAX).payload
    shape.bounded(payload or b"", BATCH_CBOR_ITEMS_MAX, "batch")
    received = statement.parse(data, BATCH, BATCH_BYTES_MAX)
    batch = Batch(*shape.row(received.values, 7, "batch"))
    statement.subject_device(received)
    batch.statement = received
    return batch


class VerifiedBatch(Batch):
    """`head` is verified too; `segments`: (index in the log, bytes); `tree`: the log after them.

    `parsed`: the segments, in the same order; `leaves`: (level, hash) of every item, whatever is
    given of it.
    """

    key: PublicKey
    head: VerifiedGatewayHead  # type: ignore[assignment]  # verified, in place of its bytes
    segments: list[tuple[int, bytes]]
    parsed: list[Segment]
    leaves: list[tuple[int, bytes]]
    tree: Tree


def _grow(verified: VerifiedBatch, batch: Batch, known: "tuple[int, bytes] | None") -> None:
    # The log after the batch's items, which must pass through the size and root that are known.
    tree = Tree(batch.first, batch.edge)
    segments: list[tuple[int, bytes]] = []
    parsed: list[Segment] = []
    leaves: list[tuple[int, bytes]] = []
    _compare(tree, known)
    for item in batch.items:
        if isinstance(item, bytes):
            segments.append((tree.size, item))
            found = segment.parse(item)
            parsed.append(found)
            leaf = gatewaylog.leaf_of(found).leaf_hash()
            leaves.append((0, leaf))
            tree.push(leaf)
        else:
            leaves.append(item)
            tree.push_subtree(item[0], item[1])
        _compare(tree, known)
    verified.tree, verified.segments, verified.leaves = tree, segments, leaves
    verified.parsed = parsed


def _compare(tree: Tree, known: "tuple[int, bytes] | None") -> None:
    if known is not None and tree.size == known[0] and tree.root() != known[1]:
        raise Unverified("gateway-fork", "batch: contradicts the gateway's log as it was known")


def verify_batch(
    batch: Batch, key: PublicKey, known: "tuple[int, bytes] | None" = None
) -> VerifiedBatch:
    """The batch, when the gateway's `key` signed it and its head and the items give its root.

    `known`: (size, root) of the gateway's log that the receiver has, to be extended.  Reasons:
    gateway-gap (begins beyond it), gateway-fork (contradicts it), bad-root, and bad signatures.
    A batch that ends before `known` is not compared: what it tells is known already.
    """
    head = gatewayhead.parse(batch.head).verify(key)
    if head.sub != batch.sub:
        raise Unverified("wrong-device", "batch: its head is of another gateway")
    verified = batch._verified(VerifiedBatch, key)
    if known is not None and batch.first > known[0]:
        raise Unverified("gateway-gap", "batch: begins beyond the gateway's log that is known")
    _grow(verified, batch, known)
    if verified.tree.size != head.size or verified.tree.root() != head.root:
        raise Unverified("bad-root", "batch: its items do not give the root of its head")
    verified.head = head
    return verified
