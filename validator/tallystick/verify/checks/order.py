"""`order`: one claim came before another (docs/reconciliation.md, section 5.3)."""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

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

WRONG, RIGHT, WITHOUT, OVERLAP = range(4)
NAMES = ("first", "then")


class _Pair(NamedTuple):
    a: Value
    b: Value
    order: int


def _order(a: Value, b: Value) -> int:
    # Who names a claim knows its leaf hash, so the named claim was there before.
    if a.known.reference in b.claim.relied:
        return RIGHT
    if b.known.reference in a.claim.relied:
        return WRONG
    when_a, when_b = moments(a), moments(b)
    if when_a is None or when_b is None:
        return WITHOUT
    if when_a[1] < when_b[0]:
        return RIGHT
    return WRONG if when_b[1] < when_a[0] else OVERLAP


def readable(parameters: dict[str, Any], plan: Plan) -> bool:
    """Two different claims of the profile."""
    texts = [parameters.get(name) for name in NAMES]
    return len(parameters) == len(NAMES) and bool(plan.claim_places(texts))


def evaluate(parameters: dict[str, Any], view: View) -> Outcome:
    """Every claim of `first` with every claim of `then`."""
    first, then = (parameters[name] for name in NAMES)
    values, hindrance = view.gather([first, then])
    firsts = [value for value in values if value.place.text == first]
    thens = [value for value in values if value.place.text == then]
    pairs = [_Pair(a, b, _order(a, b)) for a, b in product(firsts, thens)]
    # The first pair of each kind.
    found = {pair.order: pair for pair in reversed(pairs)}
    if WRONG in found:
        pair = found[WRONG]
        return Outcome(FAIL, f"{then} came before {first}.", shown(pair.a, pair.b))
    if hindrance is not None:
        return hindrance
    if WITHOUT in found:
        pair = found[WITHOUT]
        bare = first if pair.a.claim.interval is None else then
        reason = f"{bare} has no interval, and neither claim names the other."
        return Outcome(NOT_EVALUATED, reason, shown(pair.a, pair.b), cause=LACKS)
    if OVERLAP in found:
        pair = found[OVERLAP]
        reason = f"The intervals of {first} and {then} overlap."
        return Outcome(NOT_EVALUATED, reason, shown(pair.a, pair.b), cause=UNDECIDED)
    return Outcome(PASS, f"{first} came before {then}." if pairs else NOTHING)
