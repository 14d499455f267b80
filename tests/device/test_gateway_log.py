"""A gateway's log, leaf by leaf (docs/protocol.md, section 6.1)."""

from _signing import Signer, refused
from tallystick.evidence import tree
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.gatewaylog import GatewayLeaf, leaf_of
from tallystick.evidence.gatewaylog import parse as parse_leaf
from tallystick.evidence.leaf import leaves
from tallystick.evidence.segment import Segment, Stretch

KEYS = {
    "r": "5b6489c9c7fd0dcf50545e7c164886ef40491ec06c7f1b123041797e8117535e",
}
SIGNATURES = {
    "3d3083c5": "e2460e63b1ab4d23660c6a53861a16e617d045672db509b8d55c40c35f6f319f"
    "0ce26bf42a5eaed77497b4b8d4aed061f6447a156ee667c7584fe08ad3c1a70a",
}
ROBOT = Signer("r", KEYS, SIGNATURES)
ROBOT_ID = ROBOT.public_key().thumbprint()
EPOCH, SEED, RECORD = b"epoch123", b"s" * 32, b"\x84\x02\x00\x65x.ray\xa0"


def segment() -> Segment:
    root = tree.root_of(leaves(SEED, 0, [RECORD]))
    head = Checkpoint(EPOCH, 1, root, 0, 1, 5, None, None, None)
    stretch = Stretch([RECORD], SEED, head.sign(ROBOT, "acme", ROBOT_ID))
    return Segment(ROBOT_ID, EPOCH, 0, None, [stretch])


def test_a_leaf_comes_back() -> None:
    leaf = leaf_of(segment())
    assert (leaf.device, leaf.epoch, leaf.from_, leaf.to) == (ROBOT_ID, EPOCH, 0, 1)
    assert parse_leaf(leaf.encode()) == leaf
    assert leaf.leaf_hash() == tree.leaf_hash(leaf.encode())
    other = GatewayLeaf(ROBOT_ID, EPOCH, 0, 1, leaf.root, bytes(32))
    assert other != leaf
    assert refused(GatewayLeaf, ROBOT_ID, EPOCH, 2, 1, leaf.root, bytes(32)) == "bad-value"
    assert refused(parse_leaf, leaf.encode()[:-1]) == "truncated"
