# CPython only
"""A segment that another process of ours has read and verified: what is left to check is little.

Folding needs neither history nor identity: a stretch's records become the roots of the aligned
subtrees that cover them, one or a few, whatever the tree before them, and its checkpoint becomes
what it says and the key that signed it. Who knows the tree pushes the subtrees and compares roots;
who knows the device says whether the key is its. All the rest is the other process's word, so it
must be one's own; between the two every check of segment.verify_segment is made, once.
"""

import zlib
from functools import lru_cache
from typing import NamedTuple

from tallystick.evidence import cbor
from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import leaf as leaves_of
from tallystick.evidence import segment as segments
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.credential import Identity
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.keys import PublicKey, device_text
from tallystick.evidence.kinds import GATEWAY_LEAF
from tallystick.evidence.tree import Tree, _parents, leaf_hash

# Level and hash of a subtree, as Tree.push_subtree takes them.
Subtree = tuple[int, bytes]
KEYS_KEPT_MAX = 1024
_kept_key = lru_cache(KEYS_KEPT_MAX)(PublicKey)
# A gateway leaf's array of seven, its kind, and the heads of strings of 32 and of 8 bytes.
_LEAF_BEGIN = bytes((0x87, GATEWAY_LEAF, 0x58, 32))
_EPOCH_HEAD = b"\x48"
_HASH_HEAD = b"\x58\x20"


class FoldedHead(NamedTuple):
    """What a checkpoint says, and the key (algorithm, raw) that signed it.

    `data` is the statement and `digest` its digest; `iss` and `kid` are of its header. Size, epoch
    and device are those of the stretch and the segment that it ends.
    """

    data: bytes
    digest: bytes
    iss: str
    kid: bytes
    key: tuple[int, bytes]
    root: bytes
    boot: int
    uptime_ms: int
    custody: bytes | None


class FoldedStretch(NamedTuple):
    """`records` bodies, none elided, and the checkpoint over them."""

    records: int
    subtrees: list[Subtree]
    head: FoldedHead


class Folded(NamedTuple):
    """A segment with bodies only and without an edge.

    `last` is how its last record begins, 2 bytes; `crc` is the CRC-32 of the bytes that were read:
    they are the ones it says something of.
    """

    device: bytes
    epoch: bytes
    first: int
    to: int
    stretches: list[FoldedStretch]
    last: bytes
    crc: int


def subtrees(first: int, leaves: list[bytes]) -> list[Subtree]:
    """The roots of the largest aligned subtrees over leaves from index `first` on, in order."""
    before: list[Subtree] = []
    after: list[Subtree] = []
    nodes = leaves
    level = 0
    while nodes:
        # What has its sibling outside stays as it is: on the left side, and on the right.
        begin = first & 1
        if begin:
            before.append((level, nodes[0]))
        end = len(nodes) - (len(nodes) - begin & 1)
        if end < len(nodes):
            after.append((level, nodes[-1]))
        nodes = _parents(nodes[begin:end])
        first = first + 1 >> 1
        level += 1
    return before + after[::-1]


def fold(data: bytes, keys: list[tuple[int, bytes]]) -> Folded | None:
    """Read and hash a segment, and see which of the keys (algorithm, raw) signed.

    None for what is not the common case, bad segments too: it says nothing of why.
    """
    try:
        segment = segments.parse(data)
        if segment.edge is not None or segment.first == segment.to:
            return None
        subject = device_text(segment.device)
        stretches = []
        previous = None
        for stretch in segment.stretches:
            seed = stretch.secret
            if stretch.elided or not isinstance(seed, bytes):
                return None
            head = checkpoints.parse(stretch.checkpoint)
            signed = _signed(head, subject, segment.epoch, keys)
            if head.size != stretch.to:
                return None
            if previous is not None:
                checkpoints.follows(previous, head)
            previous = head
            found = leaves_of.leaves(seed, stretch.first, stretch.items)  # type: ignore[arg-type]  # all are records
            stretches.append(FoldedStretch(len(found), subtrees(stretch.first, found), signed))
    except TallyError:
        return None
    last: bytes = segment.stretches[-1].items[-1][:2]  # type: ignore[assignment]  # a record
    crc = zlib.crc32(data)
    return Folded(segment.device, segment.epoch, segment.first, segment.to, stretches, last, crc)


def _signed(
    head: Checkpoint, subject: str, epoch: bytes, keys: list[tuple[int, bytes]]
) -> FoldedHead:
    # Each key's algorithm and kid are compared first, so that one signature is checked, not many.
    received = head.received()
    for alg, raw in keys:
        key = _kept_key(alg, raw)
        try:
            segments.verify_head(head, subject, epoch, key)
        except Unverified:
            continue
        return FoldedHead(
            received.encode(),
            received.digest,
            received.iss,
            received.kid,
            (alg, raw),
            head.root,
            head.boot,
            head.uptime_ms,
            head.custody,
        )
    raise Unverified("bad-signature", "by no key of these")


def verify_folded(folded: Folded, identity: Identity, edge: Tree) -> Tree:
    """The tree after it; Unverified where verify_segment would not take the same segment.

    `edge` is the receiver's own tree at `first`, unchanged.
    """
    if folded.device != identity.id:
        raise Unverified("wrong-device", "a segment of another device than the identity's")
    if edge.size != folded.first:
        raise Unverified("no-history", "the segment does not start where the known tree ends")
    tree = edge.copy()
    for stretch in folded.stretches:
        _check_signer(stretch.head, identity)
        for level, node in stretch.subtrees:
            tree.push_subtree(level, node)
        if tree.root() != stretch.head.root:
            raise Unverified("bad-root", "the items do not give the signed root")
    return tree


def _check_signer(head: FoldedHead, identity: Identity) -> None:
    # As Identity.key_of finds the key that a statement names.
    if head.iss != identity.iss:
        raise Unverified("wrong-key", "a statement that names another fleet than its signer's")
    for period in reversed(identity.keys):
        if period.key.kid() == head.kid:
            if (period.key.alg, period.key.raw) == head.key:
                return
            break
    raise Unverified("wrong-key", "a statement by no key of this identity")


def gateway_leaf(folded: Folded) -> bytes:
    """The leaf hash of GatewayLeaf for this segment, with less work."""
    head = folded.stretches[-1].head
    return leaf_hash(
        b"".join(
            (
                _LEAF_BEGIN,
                folded.device,
                _EPOCH_HEAD,
                folded.epoch,
                cbor.head(0, folded.first),
                cbor.head(0, folded.to),
                _HASH_HEAD,
                head.root,
                _HASH_HEAD,
                head.digest,
            )
        )
    )
