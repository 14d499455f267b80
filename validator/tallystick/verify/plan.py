"""A profile made ready for the engine: slots, field types and places, looked up once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tallystick.evidence.claim import Claim
from tallystick.evidence.number import Dec
from tallystick.evidence.profile import Profile

SLOTS_MAX = 32
PLANS_MAX = 256


class Place(NamedTuple):
    """`role.claim.field`, or `role.claim` with an empty field; kind and unit are the field's."""

    text: str
    role: str
    claim: str
    field: str
    kind: str
    unit: str | None


def encoding_order(name: str) -> tuple[int, bytes]:
    """Sorts text as its deterministic encoding sorts: the length stands before the bytes."""
    raw = name.encode()
    return len(raw), raw


def _number(value: Any) -> bool:
    return type(value) is int or type(value) is Dec


def _numbers(value: Any) -> bool:
    return type(value) is list and all(map(_number, value))


_FITS: dict[str, Callable[[Any], bool]] = {
    "number": _number,
    "numbers": _numbers,
    "text": lambda value: type(value) is str,
    "bytes": lambda value: type(value) is bytes,
    "bool": lambda value: type(value) is bool,
}


class _ClaimPlan:
    # What a claim of one role and name must look like.

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.kinds = {name: field[0] for name, field in fields.items()}
        self.units = {name: field[1] for name, field in fields.items()}
        self.required = frozenset(name for name, field in fields.items() if field[3])
        self._fits = {name: _FITS[kind] for name, kind in self.kinds.items()}

    def misfit(self, claim: Claim) -> str | None:
        fits = self._fits
        fields = claim.fields
        bad = [name for name in fields if name not in fits or not fits[name](fields[name])]
        if not self.required <= fields.keys():
            bad += self.required - fields.keys()
        return min(bad, key=encoding_order) if bad else None


class Plan:
    """What the engine asks of a profile."""

    def __init__(self, profile: Profile) -> None:
        self.digest: bytes = profile.digest
        self.deadline_ms: int = profile.deadline_ms
        self.checks = [(check[0], check[1], check[2]) for check in map(list, profile.checks)]
        self._claims = {
            (role, name): _ClaimPlan(fields)
            for role, names in profile.claims.items()
            for name, fields in names.items()
        }
        self._names = {
            role: sorted(names, key=encoding_order) for role, names in profile.claims.items()
        }
        self._roles = {
            role: (profile.roles[role][0], profile.roles[role][1])
            for role in sorted(profile.roles, key=encoding_order)
        }
        self._places: dict[str, Place] = {}
        # What `checks.unreadable` says of it, once it was asked.
        self.unread: Any = ...

    def slots(self, parties: Mapping[str, list[bytes]]) -> list[tuple[str, bytes, str]] | None:
        """(role, device, claim name) in slot order; None when the map does not fit."""
        slots: list[tuple[str, bytes, str]] = []
        seen = 0
        for role, (least, most) in self._roles.items():
            devices = parties.get(role)
            if devices is None:
                if least:
                    return None
                continue
            if not least <= len(devices) <= most:
                return None
            seen += 1
            names = self._names.get(role, ())
            slots += [(role, device, name) for device in devices for name in names]
        if seen != len(parties) or not 1 <= len(slots) <= SLOTS_MAX:
            return None
        return slots

    def misfit(self, claim: Claim) -> str | None:
        """Name of the field that does not fit the profile; None when all do."""
        return self._claims[claim.role, claim.claim].misfit(claim)

    def most(self, role: str) -> int:
        """How many devices the profile allows a role."""
        return self._roles[role][1]

    def requires(self, place: Place, field: str) -> bool:
        """Whether every claim of a place must have this field."""
        return field in self._claims[place.role, place.claim].required

    def places(self, texts: Any) -> list[Place]:
        """The places `role.claim.field` that a parameter names; none when it cannot be read."""
        if type(texts) is not list or not all(type(text) is str for text in texts):
            return []
        for text in texts:
            role, _, rest = text.partition(".")
            claim, _, field = rest.partition(".")
            known = self._claims.get((role, claim))
            if known is None or field not in known.kinds or texts.count(text) > 1:
                return []
        return [self.place(text) for text in texts]

    def claim_places(self, texts: Any) -> list[Place]:
        """The places `role.claim`, each once, that parameters name; none when it cannot be read."""
        if type(texts) is not list or not all(type(text) is str for text in texts):
            return []
        for text in texts:
            role, _, claim = text.partition(".")
            if (role, claim) not in self._claims or texts.count(text) > 1:
                return []
        return [self.place(text) for text in texts]

    def place(self, text: str) -> Place:
        """The place that a check's parameter names."""
        place = self._places.get(text)
        if place is None:
            role, _, rest = text.partition(".")
            claim, _, field = rest.partition(".")
            known = self._claims[role, claim]
            kind, unit = known.kinds.get(field, ""), known.units.get(field)
            place = self._places[text] = Place(text, role, claim, field, kind, unit)
        return place


_plans: dict[bytes, Plan] = {}


def plan_of(profile: Profile) -> Plan:
    """The plan of a profile; kept by digest, because a validator meets few profiles often."""
    plan = _plans.get(profile.digest)
    if plan is None:
        if len(_plans) >= PLANS_MAX:
            _plans.clear()
        plan = _plans[profile.digest] = Plan(profile)
    return plan
