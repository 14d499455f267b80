"""The engine: what is known of one party set in, a finding out (docs/reconciliation.md).

`find` is pure: order, duplication and delay of what it is given change no byte of the finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

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
from tallystick.verify.checks import CHECKS, unreadable
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
    unread = unreadable(plan)
    if unread is not None:
        return _without_slots(inputs, known, "profile", "known", unread)
    keys = plan.slots(inputs.parties)
    if keys is None:
        reason = "The party map does not fit the profile."
        return _without_slots(inputs, known, "parties", "fit", reason)
    slots = [Slot(*key) for key in keys]
    others = _unique([*inputs.others, *_fill(plan, inputs, slots, known)])
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
    results: list[_Made] = []
    used = {slot.other.reference: slot.other for slot in slots if slot.other is not None}
    if closed is False:
        state = "pending"
    else:
        results = _built_in(slots)
        view = View(plan, slots, others, inputs.namespace, inputs.interaction)
        causes: set[str | None] = set()
        for kind, name, parameters in plan.checks:
            view.read.clear()
            outcome = CHECKS[kind].evaluate(parameters, view)
            causes.add(outcome.cause)
            used.update((known.reference, known) for known in outcome.others)
            results.append(_Made(kind, name, outcome, [*view.read, *outcome.others]))
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
    beside = [
        (known.reference, known.device, known.status, known.custody) for known in used.values()
    ]
    # Rows sort by their references, which are of one length and stand first.
    places = {reference: at for at, reference in enumerate([*sorted(counting), *sorted(used)])}
    checks = [made.result(places) for made in results]
    return _finding(given, state, absences, checks, claims, beside)


class _Made(NamedTuple):
    # A check that was made, before it is known where the claims that it read stand.
    kind: str
    name: str
    outcome: Outcome
    read: Sequence[KnownClaim]

    def result(self, places: Mapping[bytes, int]) -> CheckResult:
        outcome = self.outcome
        values = [
            CheckedValue(reference, field, _bounded(value))
            for reference, field, value in outcome.values[:VALUES_MAX]
        ]
        used = sorted({places[known.reference] for known in self.read})
        return CheckResult(
            self.kind,
            self.name,
            outcome.result,
            outcome.reason,
            values,
            sorted(outcome.blamed),
            used,
        )


def _state(slots: list[Slot], results: list[_Made], causes: set[str | None]) -> str:
    # Rows 3 to 7 of section 4; the rows before are decided where they arise.
    if any(made.outcome.result == FAIL for made in results):
        return "conflicting"
    if LACKS in causes or any(slot.state == UNUSABLE for slot in slots):
        return "insufficient"
    if any(slot.state == MISSING for slot in slots):
        return "one_sided"
    return "unresolved" if UNDECIDED in causes else "matched"


def _built_in(slots: list[Slot]) -> list[_Made]:
    results = []
    contradicted = [slot for slot in slots if slot.state == CONTRADICTED]
    if contradicted:
        pairs = [
            (known, slot)
            for slot in contradicted
            for known in (*slot.counting, *([] if slot.other is None else [slot.other]))
        ]
        first = contradicted[0]
        sentence = f"{first.role}.{first.name} was claimed in two ways by one device."
        reason = _and_more(sentence, len(contradicted))
        values: list[tuple[bytes, str, Any]]
        values = [(known.reference, slot.name, None) for known, slot in pairs]
        outcome = Outcome(FAIL, reason, values, {slot.device for slot in contradicted})
        results.append(_Made("claims", "once", outcome, [known for known, _ in pairs]))
    unusable = [slot for slot in slots if slot.state == UNUSABLE]
    if unusable:
        reason = _and_more(_unusable(unusable[0]), len(unusable))
        values = [(slot.counting[0].reference, *slot.why) for slot in unusable]
        outcome = Outcome(NOT_EVALUATED, reason, values)
        read = [slot.counting[0] for slot in unusable]
        results.append(_Made("claims", "usable", outcome, read))
    return results


def _unusable(slot: Slot) -> str:
    claim, (why, value) = f"{slot.role}.{slot.name}", slot.why
    if why == "status":
        return f"{claim} was made under a key that is {value}."
    if why == "fit":
        return f"The field {value} of {claim} does not fit the profile."
    return f"The body of {claim} is not here."


def _and_more(sentence: str, count: int) -> str:
    # How many more there are, before the full stop.
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"{sentence[:-1]}{more}."


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
    result = CheckResult(check, name, NOT_EVALUATED, reason, [], [], [])
    return _finding(given, "insufficient", [], [result], claims, [])


def _finding(
    given: FindingInputs,
    state: str,
    missing: list[Any],
    results: list[CheckResult],
    claims: list[Any],
    others: list[Any],
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
        others,
    )
