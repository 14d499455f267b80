"""Which claims of other interactions bear on each other (docs/reconciliation.md, section 5.8).

The keys by which an index finds them, in memory and in a validator's store alike, and who is whose
direct neighbour. The engine picks neighbours itself from whatever it is given; an index only has
to give them among others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from tallystick.evidence.cbor import encode
from tallystick.evidence.claim import Claim
from tallystick.evidence.digest import sha256
from tallystick.verify.plan import Place, Plan

CUSTODY, EXCLUSIVE = "custody", "exclusive"
ANYONE, MAKER = "anyone", "maker"
CHECKS_MAX = 4
MAKERS_MAX = 4
TIME_MS_MAX = 2**62

Bounds = tuple[int, int]
K = TypeVar("K")


class Spans(NamedTuple):
    """When a grant lasts, begin and end in ms; None where that is no time at all."""

    surely: Bounds | None
    at_most: Bounds | None


class Granted(NamedTuple):
    """A grant in an index: `scope` is what it must share with another to count for it."""

    scope: bytes
    spans: Spans
    longest_ms: int


def named(plan: Plan, place: Place, field: object) -> str | None:
    """The type of a field that stands in every claim of a place and names something; else None."""
    if type(field) is not str or not plan.requires(place, field):
        return None
    kind = plan.place(f"{place.text}.{field}").kind
    return kind if kind in {"text", "bytes"} else None


def spans(interval: Sequence[int] | None) -> Spans | None:
    """The spans of a grant; None when nothing can be said of it."""
    if interval is None:
        return None
    begin, end, uncertainty = interval
    if end + uncertainty > TIME_MS_MAX:
        return None
    sure, most = (begin + uncertainty, end - uncertainty), (begin - uncertainty, end + uncertainty)
    return Spans(sure if sure[0] < sure[1] else None, most if most[0] < most[1] else None)


def length_ms(span: Bounds | None) -> int:
    """How long a span is."""
    return 0 if span is None else span[1] - span[0]


def overlap(a: Bounds, b: Bounds) -> bool:
    """Whether two spans share any time; the end belongs to neither."""
    return a[0] < b[1] and b[0] < a[1]


def predecessor(own: Bounds, others: Iterable[tuple[Bounds, K]], longest_ms: int) -> K | None:
    """Of those that begin at or before `own`, the one that ends last; then by the least K."""
    found = [(-span[1], key) for span, key in others if own[0] - longest_ms < span[0] <= own[0]]
    return min(found)[1] if found else None


def successor(own: Bounds, others: Iterable[tuple[Bounds, K]], longest_ms: int) -> K | None:
    """Of those that begin after `own` does, the one that begins first; then by the least K."""
    found = [(span[0], key) for span, key in others if own[0] < span[0] < own[0] + longest_ms]
    return min(found)[1] if found else None


class Kin:
    """What an index keeps of the claims under one profile."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._checks: list[tuple[str, dict[str, Any], Place]] = []
        for kind, _, parameters in plan.checks:
            if kind in _CLAIM_OF:
                places = plan.claim_places([parameters.get(_CLAIM_OF[kind])])
                self._checks += [(kind, parameters, place) for place in places]

    def __bool__(self) -> bool:
        return bool(self._checks)

    def cites(self, claim: Claim) -> bool:
        """Whether the claim is a release: what it relied on bears on it."""
        return any(kind == CUSTODY and _at(claim, place) for kind, _, place in self._checks)

    def acquires(self, claim: Claim) -> bool:
        """Whether the claim is an acquisition, which a release may cite."""
        return any(
            kind == CUSTODY and _at(claim, self._plan.place(parameters["acquire"]))
            for kind, parameters, _ in self._checks
        )

    def fits(self, claim: Claim) -> bool:
        """Whether the claim fits the profile, so that it may count (section 2.1)."""
        return self._plan.misfit(claim) is None

    def chain(self, claim: Claim, device: bytes) -> bytes:
        """What a release shares with its rivals, beside the acquisition that it cites."""
        return sha256(encode([claim.profile, claim.namespace, claim.role, claim.claim, device]))

    def granted(self, claim: Claim, device: bytes) -> list[Granted]:
        """The scopes in which a claim is a grant that counts for others, when its key is good."""
        found: dict[bytes, Granted] = {}
        for kind, parameters, place in self._checks:
            if kind != EXCLUSIVE or not _at(claim, place) or self._plan.misfit(claim) is not None:
                continue
            when, longest_ms = spans(claim.interval), parameters["longest_ms"]
            if when is None or length_ms(when.at_most) > longest_ms:
                continue
            field = parameters["resource"]
            who = device if parameters["by"] == MAKER else None
            scope = [claim.profile, claim.namespace, place.text, field, claim.fields[field], who]
            digest = sha256(encode([*scope, longest_ms]))
            found[digest] = Granted(digest, when, longest_ms)
        return list(found.values())


_CLAIM_OF = {CUSTODY: "release", EXCLUSIVE: "grant"}


def _at(claim: Claim, place: Place) -> bool:
    return claim.role == place.role and claim.claim == place.claim
