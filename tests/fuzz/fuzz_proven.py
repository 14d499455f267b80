"""A changed file of a proof is refused by one of our errors, or convicts nobody else."""

from support import guilt
from support.story import NOW_S
from tallystick.evidence.errors import TallyError
from tallystick.verify import Policy, check_evidence, load_evidence

_POLICY = Policy.parse(guilt.matched().policy)
SEEDS = tuple(made().file().encode() for made in guilt.ALL.values())
_CONVICTED = {
    (one.name, one.accused)
    for seed in SEEDS
    for one in check_evidence(load_evidence(seed), _POLICY, NOW_S).proven
}


def target(data: bytes) -> None:
    try:
        report = check_evidence(load_evidence(data), _POLICY, NOW_S)
    except TallyError:
        return
    assert {(one.name, one.accused) for one in report.proven} <= _CONVICTED
