"""`exclusive`: nothing is granted twice at a time (docs/reconciliation.md, section 5.7)."""

from __future__ import annotations

from typing import Any

from tallystick.verify._text import duration_text
from tallystick.verify._toml import DURATION_MS_MAX
from tallystick.verify.checks.agree import NOTHING
from tallystick.verify.checks.judged import FAILS, GOOD, LACKING, UNSURE, Judged, combined
from tallystick.verify.checks.times import INTERVAL
from tallystick.verify.neighbours import (
    ANYONE,
    MAKER,
    MAKERS_MAX,
    Bounds,
    Spans,
    length_ms,
    named,
    overlap,
    predecessor,
    spans,
    successor,
)
from tallystick.verify.plan import Plan
from tallystick.verify.view import PASS, Elsewhere, Outcome, Value, View

PARAMETERS = {"grant", "resource", "longest_ms", "by"}
SURELY, AT_MOST = 0, 1
Near = tuple[Spans, Elsewhere]


def readable(parameters: dict[str, Any], plan: Plan) -> bool:
    """A claim with a resource, how long a grant may last, and whose grants are compared."""
    if parameters.keys() != PARAMETERS or parameters["by"] not in (ANYONE, MAKER):
        return False
    longest_ms = parameters["longest_ms"]
    if type(longest_ms) is not int or not 1 <= longest_ms <= DURATION_MS_MAX:
        return False
    places = plan.claim_places([parameters["grant"]])
    if not places or plan.most(places[0].role) > MAKERS_MAX:
        return False
    return named(plan, places[0], parameters["resource"]) is not None


def evaluate(parameters: dict[str, Any], view: View) -> Outcome:
    """Each grant against its direct neighbours among the grants of the same resource."""
    values, hindrance = view.gather([parameters["grant"]])
    if not values:
        return hindrance or Outcome(PASS, NOTHING)
    near = [
        (when, other)
        for other in view.elsewhere(parameters["grant"])
        if other.usable
        and (when := spans(other.claim.interval)) is not None
        and length_ms(when.at_most) <= parameters["longest_ms"]
    ]
    return combined([_judge(value, parameters, near) for value in values], hindrance)


def _judge(value: Value, parameters: dict[str, Any], near: list[Near]) -> Judged:
    grant, resource = parameters["grant"], parameters["resource"]
    longest_ms, maker = parameters["longest_ms"], value.known.device
    longest = duration_text(longest_ms)
    own = spans(value.claim.interval)
    begin_ms, end_ms, _ = value.claim.interval or (0, 0, 0)
    shown = [(value.known.reference, INTERVAL, value.claim.interval)]
    if own is None:
        return Judged(LACKING, f"{grant} has no interval.")
    if end_ms - begin_ms > longest_ms:
        return Judged(FAILS, f"{grant} lasts longer than {longest}.", shown, [maker])
    if length_ms(own.at_most) > longest_ms:
        return Judged(UNSURE, f"{grant} may last longer than {longest}.", shown)
    same = {
        other.known.reference: (when, other)
        for when, other in near
        if other.claim.fields[resource] == value.claim.fields[resource]
        and (parameters["by"] == ANYONE or other.known.device == maker)
    }
    found = [_neighbours(own, same, way, longest_ms) for way in (SURELY, AT_MOST)]
    others = [other.known for _, both in found for _, other in both]
    for (mine, both), rank, words in zip(
        found, (FAILS, UNSURE), ("overlaps", "may overlap"), strict=True
    ):
        for span, other in both:
            if mine is not None and overlap(mine, span):
                shown.append((other.known.reference, INTERVAL, other.claim.interval))
                blamed = [maker] if other.known.device == maker else []
                reason = f"Another grant of the same {resource} {words} {grant}."
                return Judged(rank, reason, shown, blamed, others)
    reason = f"No other grant of the same {resource} that is known here overlaps."
    return Judged(GOOD, reason, others=others)


def _neighbours(
    own: Spans, same: dict[bytes, Near], way: int, longest_ms: int
) -> tuple[Bounds | None, list[tuple[Bounds, Elsewhere]]]:
    # The predecessor and the successor, in one of the two ways to see intervals.
    mine = own[way]
    if mine is None:
        return None, []
    spans_of = {reference: when[way] for reference, (when, _) in same.items()}
    there = [(span, reference) for reference, span in spans_of.items() if span is not None]
    picked = [pick(mine, there, longest_ms) for pick in (predecessor, successor)]
    return mine, [
        (span, same[reference][1])
        for reference in picked
        if reference is not None and (span := spans_of[reference]) is not None
    ]
