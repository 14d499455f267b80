# A short log of one device, for the tests of segments: five records in two stretches.
from _made import EPOCH, ISS, Key
from tallystick.evidence import leaf, tree
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.segment import Segment, Stretch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RECORDS = [b"record %d" % n for n in range(5)]
SEEDS = [b"1" * 32, b"2" * 32]
LEAVES = leaf.leaves(SEEDS[0], 0, RECORDS[:3]) + leaf.leaves(SEEDS[1], 3, RECORDS[3:])


def head(key: Key, size: int, uptime_ms: int, **changed: "Any") -> bytes:
    fields: "dict[str, Any]" = {"epoch": EPOCH, "root": tree.root_of(LEAVES[:size]), "claims": 0}
    fields.update(changed)
    made = Checkpoint(size=size, boot=1, uptime_ms=uptime_ms, **fields)
    return made.sign(key, ISS, key.id)


def known(size: int) -> tree.Tree:
    grown = tree.Tree()
    grown.extend(LEAVES[:size])
    return grown


def whole(key: Key) -> Segment:
    return Segment(
        key.id,
        EPOCH,
        0,
        None,
        [
            Stretch(list(RECORDS[:3]), SEEDS[0], head(key, 3, 10)),
            Stretch(list(RECORDS[3:]), SEEDS[1], head(key, 5, 20)),
        ],
    )
