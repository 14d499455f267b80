"""The checks, one a file, and the table that names them (docs/reconciliation.md, section 5).

A check is a pure function of its parameters, as the profile's encoding has them, and of the view.
A profile that names a check that is not in the table, or gives parameters that the check cannot
read, cannot be read by this validator: anybody may publish a profile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tallystick.verify.checks import agree, limit, order, quorum, within
from tallystick.verify.plan import Plan
from tallystick.verify.view import Outcome, View


class Check(NamedTuple):
    """`readable` is asked before `evaluate`."""

    evaluate: Callable[[dict[str, Any], View], Outcome]
    readable: Callable[[dict[str, Any], Plan], bool]


CHECKS: dict[str, Check] = {
    "agree": Check(agree.evaluate, agree.readable),
    "order": Check(order.evaluate, order.readable),
    "within": Check(within.evaluate, within.readable),
    "limit": Check(limit.evaluate, limit.readable),
    "quorum": Check(quorum.evaluate, quorum.readable),
}
