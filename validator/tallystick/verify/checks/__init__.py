"""The checks, one a file, and the table that names them (docs/reconciliation.md, section 5).

A check is a pure function of its parameters, as the profile's encoding has them, and of the view.
A profile that names a check that is not in the table, or gives parameters that the check cannot
read, cannot be read by this validator: anybody may publish a profile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tallystick.verify.checks import agree, custody, exclusive, limit, order, quorum, within
from tallystick.verify.neighbours import CHECKS_MAX, CUSTODY, EXCLUSIVE, Kin
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
    "custody": Check(custody.evaluate, custody.readable),
    "exclusive": Check(exclusive.evaluate, exclusive.readable),
}


def unreadable(plan: Plan) -> str | None:
    """Why a profile cannot be read: a sentence about the first check for which it is so."""
    if plan.unread is ...:
        plan.unread = _unreadable(plan)
    unread: str | None = plan.unread
    return unread


def _unreadable(plan: Plan) -> str | None:
    neighbourly = 0
    for kind, name, parameters in plan.checks:
        if kind not in CHECKS:
            return f"The profile names the check {kind}, which is not known."
        neighbourly += kind in (CUSTODY, EXCLUSIVE)
        if neighbourly > CHECKS_MAX or not CHECKS[kind].readable(parameters, plan):
            return f"The parameters of the check {name} cannot be read."
    return None


def kin_of(plan: Plan) -> Kin | None:
    """What an index keeps of the claims under a profile; None where no check needs one."""
    return (Kin(plan) or None) if unreadable(plan) is None else None
