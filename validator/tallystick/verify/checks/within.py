"""`within`: what claims tell of lies within a duration (docs/reconciliation.md, section 5.4)."""

from __future__ import annotations

from typing import Any

from tallystick.verify._text import duration_text
from tallystick.verify._toml import DURATION_MS_MAX
from tallystick.verify.checks.agree import NOTHING
from tallystick.verify.checks.times import moments, shown
from tallystick.verify.plan import Plan
from tallystick.verify.view import (
    FAIL,
    LACKS,
    NOT_EVALUATED,
    PASS,
    UNDECIDED,
    Outcome,
    Value,
    View,
)

CLAIMS_MIN = 2


def readable(parameters: dict[str, Any], plan: Plan) -> bool:
    """Claims of the profile, and a duration."""
    texts, duration_ms = parameters.get("claims"), parameters.get("duration_ms")
    if len(parameters) != 2 or type(duration_ms) is not int or type(texts) is not list:  # both
        return False
    return bool(plan.claim_places(texts)) and 0 <= duration_ms <= DURATION_MS_MAX


def evaluate(parameters: dict[str, Any], view: View) -> Outcome:
    """All claims of the places, at their farthest and at their nearest."""
    duration_ms: int = parameters["duration_ms"]
    lasting = duration_text(duration_ms)
    values, hindrance = view.gather(parameters["claims"])
    timed: list[tuple[Value, int, int]] = []
    bare: list[Value] = []
    for value in values:
        when = moments(value)
        if when is None:
            bare.append(value)
        else:
            timed.append((value, *when))
    if len(timed) >= CLAIMS_MIN:
        a = min(timed, key=lambda one: one[2])
        b = max(timed, key=lambda one: one[1])
        if b[1] - a[2] > duration_ms:
            reason = f"{a[0].place.text} and {b[0].place.text} are more than {lasting} apart."
            return Outcome(FAIL, reason, shown(a[0], b[0]))
    if hindrance is not None:
        return hindrance
    if len(values) < CLAIMS_MIN:
        return Outcome(PASS, NOTHING)
    if bare:
        return Outcome(
            NOT_EVALUATED, f"{bare[0].place.text} has no interval.", shown(bare[0]), cause=LACKS
        )
    a = min(timed, key=lambda one: one[1])
    b = max(timed, key=lambda one: one[2])
    if b[2] - a[1] > duration_ms:
        both = (a[0],) if a is b else (a[0], b[0])
        names = f"{a[0].place.text} and {b[0].place.text}"
        reason = f"{names} may be more than {lasting} apart."
        return Outcome(NOT_EVALUATED, reason, shown(*both), cause=UNDECIDED)
    return Outcome(PASS, f"The claims lie within {lasting}.")
