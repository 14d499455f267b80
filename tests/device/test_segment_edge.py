"""Segments for receivers without history (docs/protocol.md, section 3.2)."""

from _log import LEAVES, head, known, whole
from _made import EPOCH, Key, refused
from tallystick.evidence import segment, tree
from tallystick.evidence.segment import Edge, Segment, verify_segment


def test_without_history_by_the_edge() -> None:
    key = Key("device")
    rest = whole(key).trim(3)
    edge = Edge(head(key, 3, 10), known(3).edge)
    carried = segment.parse(Segment(key.id, EPOCH, 3, edge, rest.stretches).encode())
    verified = verify_segment(carried, key.public_key())
    assert verified.began == 3 and verified.tree.root() == tree.root_of(LEAVES)
    # Who knows the history uses its own, and sees a device that tells another one.
    assert verify_segment(carried, key.public_key(), known(3)).began is None
    other = tree.Tree()
    other.extend([b"x" * 32, b"y" * 32, b"z" * 32])
    assert refused(verify_segment, carried, key.public_key(), other) == "fork"
    for wrong in (
        Edge(head(key, 3, 10), [b"x" * 32, b"y" * 32]),
        Edge(head(key, 4, 10), known(3).edge),
    ):
        made = Segment(key.id, EPOCH, 3, wrong, rest.stretches)
        assert refused(verify_segment, made, key.public_key()) == "bad-edge"
    assert refused(Segment, key.id, EPOCH, 3, Edge(b"", [b"x" * 32]), rest.stretches) == "bad-edge"
    assert refused(Segment, key.id, EPOCH, 0, Edge(b"", []), rest.stretches) == "bad-edge"
