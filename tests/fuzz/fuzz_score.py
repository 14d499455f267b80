"""score.parse returns what has, made anew, the same payload, or raises Malformed."""

from support import guilt
from tallystick.evidence import score
from tallystick.evidence.errors import Malformed
from tallystick.evidence.score import Score

SEEDS = (guilt.signed_score(),)


def target(data: bytes) -> None:
    try:
        got = score.parse(data)
    except Malformed:
        return
    made = Score(got.from_ms, got.to_ms, got.logs, got.validators, got.gateways, got.proofs)
    assert made.payload() == got.payload()
