"""What a check sees of a party set: the claims in its slots, and what stands in its way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tallystick.evidence.claim import Claim
from tallystick.verify.inputs import GOOD_STATUSES, KnownClaim
from tallystick.verify.plan import Place, Plan

PASS, FAIL, NOT_EVALUATED = "pass", "fail", "not_evaluated"
FILLED, MISSING, UNUSABLE, CONTRADICTED = range(4)

# Why a check was not evaluated: the state follows from it (docs/reconciliation.md, section 4).
BY_SLOT, LACKS, UNDECIDED = "slot", "lacks", "undecided"

_HINDRANCES = {MISSING: "is missing", UNUSABLE: "cannot be used", CONTRADICTED: "is contradicted"}

ABSENT: Any = object()


class Outcome(NamedTuple):
    """What a check came to; `values` are (reference, field, value), `cause` one of the above."""

    result: str
    reason: str
    values: Sequence[tuple[bytes, str, Any]] = ()
    blamed: Iterable[bytes] = ()
    cause: str | None = None
    others: Sequence[KnownClaim] = ()


class Slot:
    """(role, device, claim name) and what counts in it (section 2.1)."""

    __slots__ = ("counting", "device", "name", "other", "role", "state", "why")

    def __init__(self, role: str, device: bytes, name: str) -> None:
        self.role = role
        self.device = device
        self.name = name
        self.state = MISSING
        self.counting: list[KnownClaim] = []
        self.other: KnownClaim | None = None
        self.why: tuple[str, Any] = ("", None)


class Value(NamedTuple):
    """One claim at one place; `value` is ABSENT when the claim does not have the field."""

    place: Place
    known: KnownClaim
    claim: Claim
    value: Any


class Elsewhere(NamedTuple):
    """A claim of another interaction; `usable` as in section 2.1."""

    known: KnownClaim
    claim: Claim
    usable: bool


class View:
    """The party set as checks see it.

    `read` are the claims that checks have gathered since it was last emptied.
    """

    def __init__(
        self,
        plan: Plan,
        slots: list[Slot],
        others: Sequence[KnownClaim],
        namespace: str,
        interaction: bytes,
    ) -> None:
        self.read: list[KnownClaim] = []
        self._plan = plan
        self._slots = slots
        self._others = others
        self._namespace = namespace
        self._interaction = interaction

    def gather(self, places: Iterable[str]) -> tuple[list[Value], Outcome | None]:
        """The claims at the places, in order, and what to answer when a slot has none to give."""
        values: list[Value] = []
        hindrance: Outcome | None = None
        for text in places:
            place = self._plan.place(text)
            for slot in self._slots:
                if slot.role != place.role or slot.name != place.claim:
                    continue
                known = slot.counting[0] if slot.state == FILLED else None
                claim = known.claim if known is not None else None
                if known is not None and claim is not None:
                    self.read.append(known)
                    value = claim.fields.get(place.field, ABSENT)
                    values.append(Value(place, known, claim, value))
                elif hindrance is None:
                    reason = f"A claim {slot.role}.{slot.name} {_HINDRANCES[slot.state]}."
                    hindrance = Outcome(NOT_EVALUATED, reason, cause=BY_SLOT)
        return values, hindrance

    def elsewhere(self, text: str) -> list[Elsewhere]:
        """Claims at this `role.claim` in other interactions under the same profile."""
        place = self._plan.place(text)
        return [
            Elsewhere(
                known, claim, known.status in GOOD_STATUSES and self._plan.misfit(claim) is None
            )
            for known in self._others
            if (claim := known.claim) is not None
            and claim.role == place.role
            and claim.claim == place.claim
            and claim.profile == self._plan.digest
            and claim.namespace == self._namespace
            and known.device in claim.parties.get(claim.role, ())
            and claim.interaction_id() != self._interaction
        ]
