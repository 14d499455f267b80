# A log whose newest record is a claim, for the tests of halves.
from _identity import enrol
from _names import EPOCH, ISS
from tallystick.evidence import leaf
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.claim import Claim
from tallystick.evidence.digest import sha256
from tallystick.evidence.half import Half

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from _identity import Key

SEED = b"s" * 32
INDEX = 3


def claim_of(maker: bytes) -> Claim:
    parties = {"giver": [maker], "receiver": [b"r" * 32]}
    fields = {"item": "pallet-7"}
    return Claim(
        5, "dock-3", "order-4711", b"p" * 32, "giver", "released", fields, {}, parties, None, []
    )


def half_of(key: "Key", root: "Key", **changed: "Any") -> Half:
    record = changed.get("record", claim_of(key.id).encode())
    leaves = leaf.leaves(SEED, 0, [b"0", b"1", b"2", record])
    # By hand: a tree's code takes heap that the check of a half needs.
    left = sha256(b"\x01" + leaves[0] + leaves[1])
    right = sha256(b"\x01" + leaves[2] + leaves[3])
    path = [leaves[2], left]
    head = Checkpoint(EPOCH, 4, sha256(b"\x01" + left + right), 1, 1, 10)
    fields: "dict[str, Any]" = {
        "record": record,
        "salt": leaf.salt(SEED, INDEX),
        "index": INDEX,
        "path": path,
        "checkpoint": head.sign(key, ISS, key.id),
    }
    fields.update(changed)
    if "credential" not in fields:
        fields["credential"] = [enrol(key, root)]
    return Half(**fields)
