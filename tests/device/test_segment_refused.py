"""Segments that do not hold together (docs/protocol.md, section 3.2)."""

from _log import RECORDS, SEEDS, head
from _made import EPOCH, Key, refused
from tallystick.evidence.segment import Segment, Stretch, verify_segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def reason_of(key: Key, items: "Any", secret: "Any", checkpoint: bytes) -> str:
    made = Segment(key.id, EPOCH, 0, None, [Stretch(items, secret, checkpoint)])
    return refused(verify_segment, made, key.public_key())


def test_items_that_do_not_fit() -> None:
    key = Key("device")
    items = RECORDS[:3]
    good = head(key, 3, 10)
    assert reason_of(key, [items[1], items[0], items[2]], SEEDS[0], good) == "bad-root"
    assert reason_of(key, items, SEEDS[1], good) == "bad-root"
    assert reason_of(key, items[:2], SEEDS[0], good) == "bad-stretch"
    assert reason_of(key, [(2, b"x" * 32)], None, good) == "bad-stretch"
    subtrees = [(0, b"x" * 32), (1, b"x" * 32)]
    assert reason_of(key, subtrees, None, good) == "misaligned-subtree"


def test_checkpoints_that_do_not_fit() -> None:
    key, other = Key("device"), Key("other")
    items = RECORDS[:3]
    assert reason_of(key, items, SEEDS[0], head(other, 3, 10)) == "wrong-device"
    assert reason_of(key, items, SEEDS[0], head(key, 3, 9, epoch=b"epoch-02")) == "bad-stretch"
    made = Segment(key.id, EPOCH, 0, None, [Stretch(list(items), SEEDS[0], head(key, 3, 10))])
    assert refused(verify_segment, made, other.public_key()) == "wrong-key"
    moved = Segment(other.id, EPOCH, 0, None, made.stretches)
    assert refused(verify_segment, moved, key.public_key()) == "wrong-device"


def test_checkpoints_that_contradict_each_other() -> None:
    key = Key("device")
    first = Stretch(list(RECORDS[:3]), SEEDS[0], head(key, 3, 10))
    earlier = Stretch(list(RECORDS[3:]), SEEDS[1], head(key, 5, 9))
    made = Segment(key.id, EPOCH, 0, None, [first, earlier])
    assert refused(verify_segment, made, key.public_key()) == "bad-value"
