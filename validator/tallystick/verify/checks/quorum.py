"""`quorum`: at least k of the observers agree (docs/reconciliation.md, section 5.5)."""

from __future__ import annotations

from typing import Any

from tallystick.evidence.limits import PARTIES_MAX
from tallystick.verify.checks.agree import NOTHING, Comparison, comparable
from tallystick.verify.plan import Plan
from tallystick.verify.view import ABSENT, FAIL, PASS, Outcome, View


def readable(parameters: dict[str, Any], plan: Plan) -> bool:
    """As `agree`, and how many must agree."""
    at_least = parameters.get("at_least")
    compared = {key: value for key, value in parameters.items() if key != "at_least"}
    if type(at_least) is not int or not 1 <= at_least <= PARTIES_MAX:
        return False
    return comparable(compared, plan)


def evaluate(parameters: dict[str, Any], view: View) -> Outcome:
    """How many values agree with the one that most agree with."""
    at_least: int = parameters["at_least"]
    values, hindrance = view.gather(parameters["fields"])
    if not values:
        return hindrance or Outcome(PASS, NOTHING)
    comparison = Comparison(parameters, values[0].place.unit)
    given = [value for value in values if value.value is not ABSENT]
    most = 0
    for a in given:
        agreeing = [b for b in given if comparison.disagreement(a.value, b.value) is None]
        most = max(most, len(agreeing))
    if most >= at_least:
        return Outcome(PASS, f"{most} of {len(given)} values agree{comparison.extent}.")
    if hindrance is not None:
        return hindrance
    reason = f"At most {most} of {len(given)} values agree; {at_least} are needed."
    return Outcome(FAIL, reason, [(v.known.reference, v.place.field, v.value) for v in given])
