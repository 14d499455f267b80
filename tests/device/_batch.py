# A gateway's batch of one segment, for the device tests of batches.

from _signing import Signer
from tallystick.evidence import tree
from tallystick.evidence.batch import Batch
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.gatewayhead import GatewayHead
from tallystick.evidence.gatewaylog import leaf_of
from tallystick.evidence.leaf import leaves
from tallystick.evidence.segment import Segment, Stretch

KEYS = {
    "g": "12a41592c8b7c17d4059e7b29b61e8ff96c7415f2f803348f2f017e05b9ea1da",
    "r": "5b6489c9c7fd0dcf50545e7c164886ef40491ec06c7f1b123041797e8117535e",
}
SIGNATURES = {
    "3d3083c5": "e2460e63b1ab4d23660c6a53861a16e617d045672db509b8d55c40c35f6f319f"
    "0ce26bf42a5eaed77497b4b8d4aed061f6447a156ee667c7584fe08ad3c1a70a",
    "5d61cb12": "70d0a0e7e7807d1d63db5b0c9d83d895c194535eb0740ebc3ba038d0ef9da68e"
    "bdaecb6c24ac123b05258a093934f04ef5d6eea98b0d4f6145abbb7fc35a0508",
    "c251d593": "61725dd03bef789fdc323d34301a3f6f6dda62d30fdc808fecd44879fda01caa"
    "4ca98fc9dcd0fbd33c092e966b3b7527e61b1e41ca49a467aafaf0726fddac09",
}
GATEWAY, ROBOT = Signer("g", KEYS, SIGNATURES), Signer("r", KEYS, SIGNATURES)
GATEWAY_ID, ROBOT_ID = GATEWAY.public_key().thumbprint(), ROBOT.public_key().thumbprint()
EPOCH, SEED, RECORD = b"epoch123", b"s" * 32, b"\x84\x02\x00\x65x.ray\xa0"


def segment() -> Segment:
    root = tree.root_of(leaves(SEED, 0, [RECORD]))
    head = Checkpoint(EPOCH, 1, root, 0, 1, 5, None, None, None)
    stretch = Stretch([RECORD], SEED, head.sign(ROBOT, "acme", ROBOT_ID))
    return Segment(ROBOT_ID, EPOCH, 0, None, [stretch])


BEFORE = b"b" * 32


def encoded() -> bytes:
    """A batch that goes on from size 1 with root BEFORE."""
    leaf = leaf_of(segment()).leaf_hash()
    head = GatewayHead(2, tree.node_hash(BEFORE, leaf), 7).sign(GATEWAY, "acme", GATEWAY_ID)
    made = Batch(1, [BEFORE], [segment().encode()], [], [], [], head)
    return made.sign(GATEWAY, "acme", GATEWAY_ID)
