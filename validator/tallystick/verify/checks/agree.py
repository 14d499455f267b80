"""`agree`: values are equal, or within a tolerance (docs/reconciliation.md, section 5.1)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import eq
from typing import Any

from tallystick.evidence.number import (
    Dec,
    compare,
    differs_by_at_most,
    differs_by_at_most_rel,
    to_text,
)
from tallystick.verify.plan import Plan
from tallystick.verify.view import ABSENT, FAIL, LACKS, NOT_EVALUATED, PASS, Outcome, View

NUMERIC = ("number", "numbers")
NOTHING = "There is nothing to compare."


def _within(a: Any, b: Any, tolerance: Any) -> bool:
    return differs_by_at_most(a, b, tolerance)


def _within_rel(a: Any, b: Any, tolerance: Any) -> bool:
    return differs_by_at_most_rel(a, b, tolerance)


class Comparison:
    """Whether two values agree, and the words for it."""

    def __init__(self, parameters: dict[str, Any], unit: str | None) -> None:
        self._near: Callable[[Any, Any], bool]
        within, relative = parameters.get("within"), parameters.get("within_rel")
        if within is not None:
            amount = to_text(within) + (f" {unit}" if unit else "")
            self._near = partial(_within, tolerance=within)
        elif relative is not None:
            amount = f"{to_text(relative)} of the larger one"
            self._near = partial(_within_rel, tolerance=relative)
        else:
            amount = ""
            self._near = eq
        self.extent = f" within {amount}" if amount else ""
        self.apart = f"differ by more than {amount}." if amount else "are not equal."

    def disagreement(self, a: Any, b: Any) -> str | None:
        """What to say of two values that do not agree; None when they do."""
        if type(a) is not list:
            return None if self._near(a, b) else self.apart
        if len(a) != len(b):
            return "have different numbers of elements."
        if all(map(self._near, a, b)):
            return None
        return self.apart


def comparable(parameters: dict[str, Any], plan: Plan) -> bool:
    """Places of one type and unit; at most one tolerance, not negative, for numbers."""
    places = plan.places(parameters.get("fields"))
    if not places or len({(place.kind, place.unit) for place in places}) > 1:
        return False
    tolerances = [parameters[key] for key in ("within", "within_rel") if key in parameters]
    if len(parameters) != 1 + len(tolerances) or len(tolerances) > 1:
        return False
    for tolerance in tolerances:
        exact = type(tolerance) is int or type(tolerance) is Dec
        if not exact or places[0].kind not in NUMERIC or compare(tolerance, 0) < 0:
            return False
    return True


readable = comparable


def evaluate(parameters: dict[str, Any], view: View) -> Outcome:
    """Every value of the places against every other one."""
    values, hindrance = view.gather(parameters["fields"])
    if not values:
        return hindrance or Outcome(PASS, NOTHING)
    comparison = Comparison(parameters, values[0].place.unit)
    given = [value for value in values if value.value is not ABSENT]
    for at, a in enumerate(given):
        for b in given[at + 1 :]:
            apart = comparison.disagreement(a.value, b.value)
            if apart is not None:
                pair = [(v.known.reference, v.place.field, v.value) for v in (a, b)]
                return Outcome(FAIL, f"{a.place.text} and {b.place.text} {apart}", pair)
    if hindrance is not None:
        return hindrance
    for value in values:
        if value.value is ABSENT:
            return Outcome(NOT_EVALUATED, f"{value.place.text} is not given.", cause=LACKS)
    return Outcome(PASS, f"The values agree{comparison.extent}.")
