"""Segments with elided items (docs/protocol.md, section 3.2)."""

from _log import LEAVES, RECORDS, SEEDS, head
from _made import EPOCH, Key, refused
from tallystick.evidence import leaf, segment, tree
from tallystick.evidence.segment import Segment, Stretch, verify_segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def test_elided_items_and_single_salts() -> None:
    key = Key("device")
    salt = leaf.salt(SEEDS[0], 2)
    items: "list[Any]" = [(1, tree.root_of(LEAVES[:2])), RECORDS[2]]
    made = Segment(
        key.id,
        EPOCH,
        0,
        None,
        [
            Stretch(items, [salt], head(key, 3, 10)),
            Stretch([(0, LEAVES[3]), (0, LEAVES[4])], None, head(key, 5, 20)),
            Stretch([], None, head(key, 5, 30)),  # an idle device's repeated head
        ],
    )
    got = segment.parse(made.encode())
    assert [(s.first, s.to, s.elided) for s in got.stretches] == [(0, 3, 1), (3, 5, 2), (5, 5, 0)]
    assert got.stretches[0].salt_of(2) == salt
    assert refused(got.stretches[0].salt_of, 0) == "bad-stretch"
    verified = verify_segment(got, key.public_key())
    assert not verified.bodies and verified.tree.size == 5
    assert verified.stretches[0].leaves == [None, LEAVES[2]]
    assert verified.stretches[1].leaves == LEAVES[3:]
