"""Segments that continue a known history (docs/protocol.md, section 3.2)."""

from _log import LEAVES, RECORDS, SEEDS, known, whole
from _made import Key, refused
from tallystick.evidence import leaf, segment, tree
from tallystick.evidence.segment import verify_segment


def test_verified_whole() -> None:
    key = Key("device")
    data = whole(key).encode()
    got = segment.parse(data)
    assert got == whole(key) and got.to == 5
    assert [(s.first, s.to) for s in got.stretches] == [(0, 3), (3, 5)]
    verified = verify_segment(got, key.public_key())
    assert (verified.first, verified.to, verified.began) == (0, 5, None)
    assert verified.tree.root() == tree.root_of(LEAVES) and verified.bodies
    assert verified.checkpoint.size == 5
    found = []
    for stretch in verified.stretches:
        found += list(stretch.records())
    assert found == [(n, RECORDS[n], LEAVES[n]) for n in range(5)]
    assert verified.stretches[1].salt_of(4) == leaf.salt(SEEDS[1], 4)
    assert refused(verified.stretches[1].salt_of, 5) == "bad-stretch"


def test_continued_and_trimmed() -> None:
    key = Key("device")
    full = whole(key)
    rest = full.trim(3)
    assert full.trim(0) is full
    assert (rest.first, rest.edge, len(rest.stretches)) == (3, None, 1)
    assert refused(full.trim, 2) == "bad-value"
    assert refused(full.trim, 5) == "bad-value"
    mine = known(3)
    verified = verify_segment(segment.parse(rest.encode()), key.public_key(), mine)
    assert verified.tree.root() == tree.root_of(LEAVES) and mine.size == 3
    assert refused(verify_segment, rest, key.public_key()) == "no-history"
    assert refused(verify_segment, rest, key.public_key(), known(2)) == "no-history"
    assert refused(verify_segment, full, key.public_key(), known(3)) == "no-history"
