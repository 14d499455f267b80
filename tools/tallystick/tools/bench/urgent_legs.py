"""Where an urgent decision is when: the legs of its way, by the clock of the one machine."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

LEGS = (
    "robot signs",
    "MQTT, COMMIT",
    "batch, HTTP",
    "validator logs",
    "verdict told",
)


@dataclass
class Passed:
    """Wall-clock seconds at which one passed each point, of the validator that was last."""

    began_s: float
    signed_s: float  # the robot has its signature on its disk
    told_s: float  # the last verdict was read
    committed_s: float = 0.0  # at the gateway
    logged_s: float = 0.0  # the validator began to log the claim
    judged_s: float = 0.0  # it began to log the verdict
    validator: int = 0

    def legs(self) -> list[float]:
        """Seconds of each of LEGS. The points between are known to a millisecond."""
        points = [self.began_s, self.signed_s, self.committed_s]
        points += [self.logged_s, self.judged_s, self.told_s]
        return [to - since for since, to in itertools.pairwise(points)]


def mean(found: Sequence[Passed]) -> dict[str, float]:
    """Mean milliseconds of each leg."""
    rows = [passed.legs() for passed in found]
    return {name: 1000 * fmean(row[at] for row in rows) for at, name in enumerate(LEGS)}
