"""Fork proofs: two signed heads of one log that contradict each other."""

from typing import Any

from support import examples as ex
from support.scenarios import Scenario, Scenarios, flip, key_hex
from tallystick.evidence import cbor, tree

GIVER_KEY = key_hex(ex.GIVER.public_key())


def all_scenarios() -> Scenarios:
    """Each names what is wrong with it."""
    values = cbor.decode(ex.fork_proof().encode())
    log = ex.giver_log()
    same = [ex.other_head(), log.checkpoints[0], None]
    honest = [log.checkpoints[0], log.checkpoints[1], values[3]]

    def of(*items: Any) -> bytes:
        return cbor.encode([30, *items])

    first, second, (root, path) = values[1:]
    for name, expect, about, data in (
        ("branch", "ok", "A head is none of the larger one's history.", of(*values[1:])),
        ("same-size", "ok", "Two roots of one size.", of(*same)),
        ("no-contradiction", "bad-consistency-proof", "Both heads are true.", of(*honest)),
        (
            "same-head-twice",
            "bad-consistency-proof",
            "One head is no contradiction.",
            of(log.checkpoints[0], log.checkpoints[0], None),
        ),
        ("larger-first", "bad-value", "The larger head stands first.", of(second, first, None)),
        ("no-path", "bad-value", "Two sizes and nothing between.", of(first, second, None)),
        (
            "path-of-equal-sizes",
            "bad-value",
            "Equal sizes need no path.",
            of(*same[:2], values[3]),
        ),
        (
            "invented-root",
            "bad-consistency-proof",
            "The path does not lead from the root that is named.",
            of(first, second, [bytes(32), path]),
        ),
        (
            "flipped-path",
            "bad-consistency-proof",
            "One bit of the path.",
            of(first, second, [root, [flip(path[0], 0), *path[1:]]]),
        ),
        (
            "other-device",
            "bad-value",
            "Heads of two devices.",
            of(ex.receiver_log().checkpoints[0], second, [tree.root_of(log.leaves[:3]), path]),
        ),
        ("unsigned", "bad-signature", "One bit of a signature.", of(flip(first, -1), *values[2:])),
    ):
        given = {"data": data.hex(), "key": GIVER_KEY}
        yield Scenario("fork-proof", name, "5.4", about, given, expect)
