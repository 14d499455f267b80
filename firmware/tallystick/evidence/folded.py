# CPython only
"""A segment that another process of ours has read and hashed: what is left to check is little.

Folding needs no history: a stretch's records become the roots of the aligned subtrees that cover
them, one or a few, whatever the tree before them. Who knows that tree pushes them and compares
roots. That the items are well formed and give these subtrees is the other process's word, so it
must be one's own; all the rest is checked here as in segment.verify_segment.
"""

import zlib
from typing import NamedTuple

from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import cose
from tallystick.evidence import leaf as leaves_of
from tallystick.evidence import segment as segments
from tallystick.evidence.checkpoint import VerifiedCheckpoint
from tallystick.evidence.credential import Identity
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.keys import PublicKey, device_text
from tallystick.evidence.tree import Tree, _parents
from tallystick.evidence.vouched import fact

# Level and hash of a subtree, as Tree.push_subtree takes them.
Subtree = tuple[int, bytes]


class FoldedStretch(NamedTuple):
    """`records` bodies up to the index `to`, none elided, and the checkpoint over them."""

    records: int
    to: int
    subtrees: list[Subtree]
    checkpoint: bytes


class Folded(NamedTuple):
    """A segment with bodies only and without an edge.

    `last` is how its last record begins, 2 bytes; `facts` are of its signatures; `crc` is
    the CRC-32 of the bytes that were read: they are the ones it says something of.
    """

    device: bytes
    epoch: bytes
    first: int
    to: int
    stretches: list[FoldedStretch]
    last: bytes
    facts: list[bytes]
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
        stretches = []
        facts = []
        for stretch in segment.stretches:
            seed = stretch.secret
            if stretch.elided or not isinstance(seed, bytes):
                return None
            found = leaves_of.leaves(seed, stretch.first, stretch.items)  # type: ignore[arg-type]  # all are records
            folded = subtrees(stretch.first, found)
            signed = stretch.checkpoint
            stretches.append(FoldedStretch(len(found), stretch.to, folded, signed))
            facts.append(_fact(signed, keys))
    except TallyError:
        return None
    last: bytes = segment.stretches[-1].items[-1][:2]  # type: ignore[assignment]  # a record
    crc = zlib.crc32(data)
    head = (segment.device, segment.epoch, segment.first, segment.to)
    return Folded(*head, stretches, last, facts, crc)


def _fact(signed: bytes, keys: list[tuple[int, bytes]]) -> bytes:
    # Each key's algorithm and kid are compared first, so that one signature is checked, not many.
    head = checkpoints.parse(signed)
    sign1 = head.received().sign1
    for alg, raw in keys:
        key = PublicKey(alg, raw)
        try:
            sign1.verify(key)
        except Unverified:
            continue
        message = cose.to_be_signed(sign1.protected, head.payload())
        return fact(alg, raw, sign1.signature, message)
    raise Unverified("bad-signature", "by no key of these")


def verify_folded(
    folded: Folded, identity: Identity, edge: Tree
) -> tuple[Tree, list[VerifiedCheckpoint]]:
    """The tree after it and its heads; raises as verify_segment does for the same segment.

    Signatures are looked up where they are vouched for (vouched.py), else checked.
    """
    if edge.size != folded.first:
        raise Unverified("no-history", "the segment does not start where the known tree ends")
    subject = device_text(folded.device)
    tree = edge.copy()
    heads: list[VerifiedCheckpoint] = []
    for stretch in folded.stretches:
        received = checkpoints.parse(stretch.checkpoint)
        head = segments.verify_head(received, subject, folded.epoch, identity)
        if head.size != stretch.to:
            raise Unverified("bad-stretch", "a stretch does not end at its checkpoint's size")
        if heads:
            checkpoints.follows(heads[-1], head)
        for level, node in stretch.subtrees:
            tree.push_subtree(level, node)
        if tree.root() != head.root:
            raise Unverified("bad-root", "the items do not give the signed root")
        heads.append(head)
    return tree, heads
