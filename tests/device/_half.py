# A log whose newest record is a claim, for the tests of halves.
from _identity import enrol
from _made import EPOCH, ISS, Key
from tallystick.evidence import leaf
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.claim import Claim
from tallystick.evidence.half import Half
from tallystick.evidence.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SEED = b"s" * 32
INDEX = 3


def claim_of(maker: bytes) -> Claim:
    parties = {"giver": [maker], "receiver": [b"r" * 32]}
    fields = {"item": "pallet-7"}
    return Claim(
        5, "dock-3", "order-4711", b"p" * 32, "giver", "released", fields, {}, parties, None, []
    )


def half_of(key: Key, root: Key, **changed: "Any") -> Half:
    record = changed.get("record", claim_of(key.id).encode())
    leaves = leaf.leaves(SEED, 0, [b"0", b"1", b"2", record])
    tree = Tree()
    for at in range(INDEX):
        tree.push(leaves[at])
    # The path of a newest leaf is the edge before it, the smallest subtree first.
    path = tree.edge[::-1]
    tree.push(leaves[INDEX])
    head = Checkpoint(EPOCH, tree.size, tree.root(), 1, 1, 10)
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
