"""forkproof.parse returns what has, made anew, the same bytes, or raises one of our errors."""

from support import examples as ex
from tallystick.evidence import forkproof
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.forkproof import ForkProof

SEEDS = (
    ex.fork_proof().encode(),
    ForkProof(ex.other_head(), ex.giver_log().checkpoints[0], None).encode(),
)


def target(data: bytes) -> None:
    try:
        got = forkproof.parse(data)
    except (Malformed, Unverified):
        return
    assert ForkProof(got.first.encode(), got.second.encode(), got.inside).encode() == data
