"""`limit`: a field satisfies the constraint that its claim declares (section 5.2).

The device's own result is recomputed and never believed.
"""

from __future__ import annotations

from typing import Any

from tallystick.evidence.value import holds
from tallystick.verify.checks.agree import NOTHING
from tallystick.verify.plan import Plan
from tallystick.verify.view import ABSENT, FAIL, LACKS, NOT_EVALUATED, PASS, Outcome, Value, View


def _lack(value: Value) -> str | None:
    place = value.place
    if value.value is ABSENT:
        return f"{place.text} is not given."
    constraint = value.claim.constraints.get(place.field)
    if constraint is None:
        return f"{place.text} has no constraint."
    unit = constraint[2]
    if unit is not None and unit != place.unit:
        return f"{place.text} has a constraint in another unit."
    return None


def _fault(value: Value) -> str | None:
    operator, limit, _, held = value.claim.constraints[value.place.field]
    if not holds(value.value, operator, limit):
        return f"{value.place.text} does not satisfy its constraint."
    if not held:
        return f"{value.place.text} satisfies its constraint, and its maker says that it does not."
    return None


def readable(parameters: dict[str, Any], plan: Plan) -> bool:
    """Places of type number."""
    places = plan.places(parameters.get("fields"))
    return bool(places) and len(parameters) == 1 and {one.kind for one in places} == {"number"}


def evaluate(parameters: dict[str, Any], view: View) -> Outcome:
    """Each value of the places against its own claim's constraint."""
    values, hindrance = view.gather(parameters["fields"])
    if not values:
        return hindrance or Outcome(PASS, NOTHING)
    lacks = [_lack(value) for value in values]
    faults = [
        (value, fault)
        for value, lack in zip(values, lacks, strict=True)
        if lack is None and (fault := _fault(value)) is not None
    ]
    if faults:
        shown = [(v.known.reference, v.place.field, v.value) for v, _ in faults]
        return Outcome(FAIL, faults[0][1], shown, {v.known.device for v, _ in faults})
    if hindrance is not None:
        return hindrance
    for lack in lacks:
        if lack is not None:
            return Outcome(NOT_EVALUATED, lack, cause=LACKS)
    return Outcome(PASS, "The constraints hold.")
