"""`custody`: an item is released by who acquired it (docs/reconciliation.md, section 5.6)."""

from __future__ import annotations

from typing import Any

from tallystick.verify.checks.agree import NOTHING
from tallystick.verify.checks.judged import FAILS, GOOD, LACKING, Judged, combined
from tallystick.verify.inputs import KnownClaim
from tallystick.verify.neighbours import MAKERS_MAX, named
from tallystick.verify.plan import Plan
from tallystick.verify.view import PASS, Elsewhere, Outcome, Value, View

PARAMETERS = {"release", "acquire", "item", "origin"}
SHOWN_MAX = 2


def readable(parameters: dict[str, Any], plan: Plan) -> bool:
    """Two different claims with one item, and whether an item may come from nowhere."""
    if parameters.keys() != PARAMETERS or type(parameters["origin"]) is not bool:
        return False
    places = plan.claim_places([parameters["release"], parameters["acquire"]])
    if not places or plan.most(places[0].role) > MAKERS_MAX:
        return False
    items = {named(plan, place, parameters["item"]) for place in places}
    return len(items) == 1 and None not in items


def evaluate(parameters: dict[str, Any], view: View) -> Outcome:
    """Each release against the acquisition that it cites and the next release that does."""
    release: str = parameters["release"]
    values, hindrance = view.gather([release])
    if not values:
        return hindrance or Outcome(PASS, NOTHING)
    acquired, released = view.elsewhere(parameters["acquire"]), view.elsewhere(release)
    return combined([_judge(value, parameters, acquired, released) for value in values], hindrance)


def _judge(
    value: Value,
    parameters: dict[str, Any],
    acquired: list[Elsewhere],
    released: list[Elsewhere],
) -> Judged:
    release, item, maker = parameters["release"], parameters["item"], value.known.device
    cited = sorted(
        (one for one in acquired if one.known.reference in value.claim.relied),
        key=lambda one: one.known.reference,
    )
    counting = [one for one in cited if one.usable]
    own = (value.known.reference, item, value.claim.fields[item])

    def failed(reason: str, *shown: Elsewhere) -> Judged:
        values = [own, *((s.known.reference, item, s.claim.fields[item]) for s in shown)]
        return Judged(FAILS, reason, values, [maker], [one.known for one in shown])

    if len(counting) > 1:
        return failed(f"{release} names more than one acquisition.", *counting[:SHOWN_MAX])
    if not counting:
        if cited:
            reason = f"The acquisition that {release} names cannot be used."
            return Judged(LACKING, reason, others=[cited[0].known])
        if parameters["origin"]:
            reason = f"{release} names no acquisition: its maker is the first to keep the item."
            return Judged(GOOD, reason)
        return Judged(LACKING, f"{release} names no acquisition that is known here.")
    acquisition = counting[0]
    if acquisition.known.device != maker:
        return failed(f"{release} ends the acquisition of another device.", acquisition)
    if acquisition.claim.fields[item] != value.claim.fields[item]:
        return failed(f"{release} ends the acquisition of another item.", acquisition)
    rival = _rival(value.known, acquisition.known.reference, released)
    if rival is not None:
        reason = f"Another release ends the acquisition that {release} ends."
        return failed(reason, acquisition, rival)
    reason = "The item was released by who acquired it."
    return Judged(GOOD, reason, others=[acquisition.known])


def _rival(own: KnownClaim, acquisition: bytes, released: list[Elsewhere]) -> Elsewhere | None:
    """The next release of the acquisition by the same device, by reference."""
    rivals = {
        one.known.reference: one
        for one in released
        if one.usable and one.known.device == own.device and acquisition in one.claim.relied
    }
    above = [reference for reference in rivals if reference > own.reference]
    if above:
        return rivals[min(above)]
    return rivals[max(rivals)] if rivals else None
