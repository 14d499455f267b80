"""A check that judges each claim by itself, and what that comes to for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tallystick.verify.inputs import KnownClaim
from tallystick.verify.view import FAIL, LACKS, NOT_EVALUATED, PASS, UNDECIDED, Outcome

# What a claim came to, the worst first.
FAILS, LACKING, UNSURE, GOOD = range(4)
_CAUSES = {LACKING: LACKS, UNSURE: UNDECIDED}


class Judged(NamedTuple):
    """One claim's part: `rank` is one of the above, `others` are what was read elsewhere."""

    rank: int
    reason: str
    values: Sequence[tuple[bytes, str, Any]] = ()
    blamed: Sequence[bytes] = ()
    others: Sequence[KnownClaim] = ()


def combined(judged: Sequence[Judged], hindrance: Outcome | None) -> Outcome:
    """The first of the worst speaks for all; everybody who is to blame is blamed."""
    others = [known for one in judged for known in one.others]
    worst = min(judged, key=lambda one: one.rank)
    if worst.rank == FAILS:
        blamed = {device for one in judged if one.rank == FAILS for device in one.blamed}
        return Outcome(FAIL, worst.reason, worst.values, blamed, None, others)
    if hindrance is not None:
        return hindrance._replace(others=others)
    if worst.rank == GOOD:
        return Outcome(PASS, worst.reason, others=others)
    return Outcome(NOT_EVALUATED, worst.reason, worst.values, (), _CAUSES[worst.rank], others)
