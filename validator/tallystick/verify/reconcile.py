"""The engine: what is known of one party set in, a finding out (docs/reconciliation.md).

`find` is pure: order, duplication and delay of what it is given change no byte of the finding.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tallystick.evidence.cbor import encode
from tallystick.evidence.claim import Claim
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Malformed
from tallystick.evidence.finding import (
    CheckedValue,
    CheckResult,
    ClaimInput,
    Finding,
    FindingInputs,
    TimeInput,
)
from tallystick.verify.checks import CHECKS
from tallystick.verify.inputs import GOOD_STATUSES, KnownClaim, PartySetInputs, TimeEvidence
from tallystick.verify.plan import Plan, plan_of
from tallystick.verify.view import (
    CONTRADICTED,
    FAIL,
    FILLED,
    LACKS,
    MISSING,
    NOT_EVALUATED,
    UNDECIDED,
    UNUSABLE,
    Outcome,
    Slot,
    View,
)

VALUES_MAX = 4
VALUE_BYTES_MAX = 128
CLAIMS_WITHOUT_SLOTS_MAX = 64
UNKNOWN = "?"


def find(inputs: PartySetInputs) -> Finding:
    """The finding on one party set; Malformed when nothing says which profile it is under."""
    known = _unique(inputs.claims)
    profile = inputs.profile
    if profile is None:
        return _without_slots(inputs, known, "profile", "known", "The profile is not known.")
    plan = plan_of(profile)
    for kind, name, parameters in plan.checks:
        reason = ""
        if kind not in CHECKS:
            reason = f"The profile names the check {kind}, which is not known."
        elif not CHECKS[kind].readable(parameters, plan):
            reason = f"The parameters of the check {name} cannot be read."
        if reason:
            return _without_slots(inputs, known, "profile", "known", reason)
    keys = plan.slots(inputs.parties)
    if keys is None:
        reason = "The party map does not fit the profile."
        return _without_slots(inputs, known, "parties", "fit", reason)
    slots = [Slot(*key) for key in keys]
    others = [*inputs.others, *_fill(plan, inputs, slots, known)]
    if others:
        _contradict_across(inputs, plan.digest, slots, others)
    return _conclude(inputs, plan, slots, others)


def _unique(claims: Iterable[KnownClaim]) -> list[KnownClaim]:
    # One claim a reference, lowest reference first.  Should one be given twice with a different
    # standing, the one with a body counts, then the least by status and custody: any fixed rule.
    unique: dict[bytes, KnownClaim] = {}
    for known in claims:
        other = unique.get(known.reference)
        if other is None or _standing(known) < _standing(other):
            unique[known.reference] = known
    return [unique[reference] for reference in sorted(unique)]


def _standing(known: KnownClaim) -> tuple[bool, str, int]:
    return known.claim is None, known.status, known.custody


def _fill(
    plan: Plan, inputs: PartySetInputs, slots: list[Slot], claims: list[KnownClaim]
) -> list[KnownClaim]:
    # Gives back the claims that are of another party set: whoever grouped them was more generous.
    strangers: list[KnownClaim] = []
    by_key = {(slot.role, slot.device, slot.name): slot for slot in slots}
    bodiless: dict[bytes, KnownClaim] = {}
    unusable: dict[int, tuple[KnownClaim, tuple[str, Any]]] = {}
    for known in claims:
        claim = known.claim
        if claim is None:
            bodiless.setdefault(known.device, known)
            continue
        if (
            claim.profile != plan.digest
            or claim.namespace != inputs.namespace
            or claim.parties != inputs.parties
        ):
            strangers.append(known)
            continue
        slot = by_key.get((claim.role, known.device, claim.claim))
        if slot is None:
            continue
        why: tuple[str, Any] | None = None
        if known.status not in GOOD_STATUSES:
            why = ("status", known.status)
        elif (misfit := plan.misfit(claim)) is not None:
            why = ("fit", misfit)
        if why is None:
            slot.counting.append(known)
        else:
            unusable.setdefault(id(slot), (known, why))
    for slot in slots:
        if slot.counting:
            slot.counting = _different(slot.counting)
            slot.state = FILLED if len(slot.counting) == 1 else CONTRADICTED
        elif id(slot) in unusable:
            known, slot.why = unusable[id(slot)]
            slot.counting, slot.state = [known], UNUSABLE
        elif slot.device in bodiless:
            slot.counting, slot.state = [bodiless[slot.device]], UNUSABLE
            slot.why = ("readable", False)
    return strangers


def _said(claim: Claim) -> bytes:
    # All of the record but its kind and uptime_ms: who says the same again contradicts nobody.
    return encode(claim.values()[2:])


def _different(claims: list[KnownClaim]) -> list[KnownClaim]:
    if len(claims) == 1:
        return claims
    by_content: dict[bytes, KnownClaim] = {}
    for known in claims:
        if known.claim is not None:
            by_content.setdefault(_said(known.claim), known)
    return list(by_content.values())[:2]


def _contradict_across(
    inputs: PartySetInputs, profile: bytes, slots: list[Slot], others: list[KnownClaim]
) -> None:
    elsewhere: dict[tuple[str, bytes, str], KnownClaim] = {}
    for known in others:
        claim = known.claim
        if (
            claim is None
            or known.status not in GOOD_STATUSES
            or claim.namespace != inputs.namespace
            or known.device not in claim.parties.get(claim.role, ())
            or (claim.profile == profile and claim.parties == inputs.parties)
            or claim.interaction_id() != inputs.interaction
        ):
            continue
        key = (claim.role, known.device, claim.claim)
        if key not in elsewhere or known.reference < elsewhere[key].reference:
            elsewhere[key] = known
    for slot in slots:
        if slot.state == FILLED:
            slot.other = elsewhere.get((slot.role, slot.device, slot.name))
            if slot.other is not None:
                slot.state = CONTRADICTED


def _silence(evidence: Iterable[TimeEvidence], devices: set[bytes]) -> dict[bytes, TimeEvidence]:
    earliest: dict[bytes, TimeEvidence] = {}
    for item in evidence:
        if item.device in devices:
            first = earliest.get(item.device)
            # (time, checkpoint, receipt): tuples of one device compare by these, in turn.
            if first is None or (item[3], item[1:3]) < (first[3], first[1:3]):
                earliest[item.device] = item
    return earliest


def _conclude(
    inputs: PartySetInputs, plan: Plan, slots: list[Slot], others: list[KnownClaim]
) -> Finding:
    missing = [slot for slot in slots if slot.state == MISSING]
    closed = inputs.closed if missing else None
    silent: dict[bytes, TimeEvidence] = {}
    if closed:
        silent = _silence(inputs.silence, {slot.device for slot in missing})
    results: list[CheckResult] = []
    used = {slot.other.reference: slot.other for slot in slots if slot.other is not None}
    if closed is False:
        state = "pending"
    else:
        results = _built_in(slots)
        view = View(plan, slots, others)
        causes: set[str | None] = set()
        for kind, name, parameters in plan.checks:
            outcome = CHECKS[kind].evaluate(parameters, view)
            causes.add(outcome.cause)
            used.update((known.reference, known) for known in outcome.others)
            results.append(_result(kind, name, outcome))
        state = _state(slots, results, causes)
    counting: dict[bytes, tuple[KnownClaim, Slot]] = {}
    for slot in slots:
        for known in slot.counting:
            counting.setdefault(known.reference, (known, slot))
    given = FindingInputs(
        plan.digest,
        inputs.namespace,
        inputs.interaction,
        dict(inputs.parties),
        [_input(known, readable=known.claim is not None) for known, _ in counting.values()],
        [_input(known, readable=known.claim is not None) for known in used.values()],
        [TimeInput(*one) for one in silent.values()],
        closed,
    )
    absences = [
        (slot.role, slot.device, slot.name, "silent" if slot.device in silent else "unheard")
        for slot in missing
    ]
    claims = [
        (
            known.reference,
            known.device,
            slot.role,
            slot.name if known.claim is not None else UNKNOWN,
            known.status,
            known.custody,
        )
        for known, slot in counting.values()
    ]
    return _finding(given, state, absences, results, claims)


def _state(slots: list[Slot], results: list[CheckResult], causes: set[str | None]) -> str:
    # Rows 3 to 7 of section 4; the rows before are decided where they arise.
    if any(result.result == FAIL for result in results):
        return "conflicting"
    if LACKS in causes or any(slot.state == UNUSABLE for slot in slots):
        return "insufficient"
    if any(slot.state == MISSING for slot in slots):
        return "one_sided"
    return "unresolved" if UNDECIDED in causes else "matched"


def _built_in(slots: list[Slot]) -> list[CheckResult]:
    results = []
    contradicted = [slot for slot in slots if slot.state == CONTRADICTED]
    if contradicted:
        values: list[tuple[bytes, str, Any]] = []
        for slot in contradicted:
            pair = [*slot.counting, slot.other] if slot.other is not None else slot.counting
            values += [(known.reference, slot.name, None) for known in pair]
        reason = f"Contradicted slots: {len(contradicted)}."
        blamed = {slot.device for slot in contradicted}
        results.append(_result("claims", "once", Outcome(FAIL, reason, values, blamed)))
    unusable = [slot for slot in slots if slot.state == UNUSABLE]
    if unusable:
        reason = f"Unusable slots: {len(unusable)}."
        values = [(slot.counting[0].reference, *slot.why) for slot in unusable]
        results.append(_result("claims", "usable", Outcome(NOT_EVALUATED, reason, values)))
    return results


def _result(kind: str, name: str, outcome: Outcome) -> CheckResult:
    values = [
        CheckedValue(reference, field, _bounded(value))
        for reference, field, value in outcome.values[:VALUES_MAX]
    ]
    return CheckResult(kind, name, outcome.result, outcome.reason, values, sorted(outcome.blamed))


def _bounded(value: Any) -> Any:
    # A verdict is a log entry of limited size; what is too long is named by its digest.
    data = encode(value)
    return value if len(data) <= VALUE_BYTES_MAX else sha256(data)


def _input(known: KnownClaim, *, readable: bool) -> ClaimInput:
    return ClaimInput(
        known.reference, known.device, known.leaf, known.status, known.custody, readable
    )


def _without_slots(
    inputs: PartySetInputs, known: list[KnownClaim], check: str, name: str, reason: str
) -> Finding:
    # Row 1 of section 4: the claims cannot be measured by the profile at all.
    counting = known[:CLAIMS_WITHOUT_SLOTS_MAX]
    profile = next((item.claim.profile for item in known if item.claim is not None), None)
    if inputs.profile is not None:
        profile = inputs.profile.digest
    if profile is None:
        raise Malformed("bad-value", "reconciliation: no claim names a profile")
    readable = check != "profile"
    given = FindingInputs(
        profile,
        inputs.namespace,
        inputs.interaction,
        dict(inputs.parties),
        [_input(item, readable=readable and item.claim is not None) for item in counting],
        [],
        [],
        None,
    )
    claims = [
        (
            item.reference,
            item.device,
            item.claim.role if item.claim is not None else UNKNOWN,
            item.claim.claim if item.claim is not None else UNKNOWN,
            item.status,
            item.custody,
        )
        for item in counting
    ]
    result = CheckResult(check, name, NOT_EVALUATED, reason, [], [])
    return _finding(given, "insufficient", [], [result], claims)


def _finding(
    given: FindingInputs,
    state: str,
    missing: list[Any],
    results: list[CheckResult],
    claims: list[Any],
) -> Finding:
    return Finding(
        given.digest(),
        given.namespace,
        given.interaction,
        given.parties,
        given.profile,
        state,
        missing,
        results,
        claims,
    )
