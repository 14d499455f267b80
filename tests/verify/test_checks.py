"""The checks on time and on numbers of observers, one row of the specification after the other.

docs/reconciliation.md, sections 5.3 to 5.5. The naive implementation agrees on every case.
"""

from typing import Any

import pytest

from tallystick.evidence.finding import Finding
from tallystick.evidence.number import from_text
from tallystick.evidence.profile import Profile
from tallystick.verify.inputs import KnownClaim, PartySetInputs
from tallystick.verify.reconcile import find
from verify import naive, worlds
from verify.worlds import DEVICES, known, make_claim

A, B, C = DEVICES[:3]
PARTIES = {"actor": [A], "observer": sorted([B, C])}
FIELDS = {"x": ["number", "m", None, False], "t": ["text", None, None, False]}


def profile(kind: str, **parameters: Any) -> Profile:
    roles = {"actor": [1, 1], "observer": [0, 3]}
    claims = {"actor": {"acted": FIELDS}, "observer": {"saw": FIELDS}}
    return Profile("p", 1, "acme", 1000, roles, claims, [[kind, "it", parameters]])


def said(under: Profile, device: bytes, x: str | None = None, **more: Any) -> KnownClaim:
    role, name = ("actor", "acted") if device == A else ("observer", "saw")
    fields = {} if x is None else {"x": from_text(x)}
    return known(make_claim(under.digest, PARTIES, role, name, fields, **more), device)


def finding(under: Profile, *claims: KnownClaim) -> Finding:
    interaction = make_claim(under.digest, PARTIES, "actor", "acted", {}).interaction_id()
    given = PartySetInputs(
        under, worlds.NAMESPACE, interaction, PARTIES, claims, (), closed=True, silence=()
    )
    found = find(given)
    assert found.encode() == naive.find(given)
    return found


def outcome(under: Profile, *claims: KnownClaim) -> tuple[str, str]:
    """State, and the reason of the check."""
    found = finding(under, *claims)
    assert found.checks[-1].blamed == []
    return found.state, found.checks[-1].reason


IN_TURN = profile("order", first="observer.saw", then="actor.acted")
BEFORE = "observer.saw came before actor.acted."
AFTER = "actor.acted came before observer.saw."
OVERLAP = "The intervals of observer.saw and actor.acted overlap."


@pytest.mark.parametrize(
    ("saw", "acted", "state", "reason"),
    [
        ([100, 110, 5], [126, 130, 10], "matched", BEFORE),
        # 115 is not below 115: the two may be one moment.
        ([100, 110, 5], [125, 130, 10], "unresolved", OVERLAP),
        ([125, 130, 10], [100, 110, 5], "unresolved", OVERLAP),
        ([126, 130, 10], [100, 110, 5], "conflicting", AFTER),
    ],
)
def test_intervals_order_claims(saw: list[int], acted: list[int], state: str, reason: str) -> None:
    claims = [said(IN_TURN, device, interval=saw) for device in (B, C)]
    claims.append(said(IN_TURN, A, interval=acted))
    assert outcome(IN_TURN, *claims) == (state, reason)
    check = finding(IN_TURN, *claims).checks[0]
    shown = [] if state == "matched" else [saw, acted]
    assert [value.value for value in check.values] == shown
    assert {value.field for value in check.values} <= {"interval"}


def test_a_reference_orders_claims_whatever_the_clocks_say() -> None:
    seen = [said(IN_TURN, device, interval=[900, 900, 0]) for device in (B, C)]
    relied = [one.reference for one in seen]
    acted = said(IN_TURN, A, interval=[1, 1, 0], relied=relied)
    assert outcome(IN_TURN, *seen, acted) == ("matched", BEFORE)
    first = said(IN_TURN, A, interval=[1000, 1000, 0])
    late = said(IN_TURN, B, interval=[1, 1, 0], relied=[first.reference])
    assert outcome(IN_TURN, late, seen[1], first) == ("conflicting", AFTER)


def test_what_shows_no_order_lacks_it() -> None:
    timed = [said(IN_TURN, device, interval=[1, 1, 0]) for device in (A, B, C)]
    bare = said(IN_TURN, C)
    reason = "observer.saw has no interval, and neither claim names the other."
    assert outcome(IN_TURN, timed[0], timed[1], bare)[0] == "insufficient"
    assert outcome(IN_TURN, said(IN_TURN, A, interval=[9, 9, 0]), timed[1], bare) == (
        "insufficient",
        reason,
    )
    # What the others show counts before what one lacks.
    early = said(IN_TURN, A, interval=[0, 0, 0])
    assert outcome(IN_TURN, early, timed[1], bare) == ("conflicting", AFTER)
    # A missing claim hides nothing that the others show.
    assert outcome(IN_TURN, early, timed[1])[0] == "conflicting"
    assert outcome(IN_TURN, said(IN_TURN, A, interval=[9, 9, 0]), timed[1]) == (
        "one_sided",
        "A claim observer.saw is missing.",
    )


SOON = profile("within", claims=["actor.acted", "observer.saw"], duration_ms=50)


@pytest.mark.parametrize(
    ("acted", "saw", "state", "reason"),
    [
        ([100, 110, 5], [130, 140, 5], "matched", "The claims lie within 50 ms."),
        (
            [100, 110, 5],
            [130, 140, 6],
            "unresolved",
            "actor.acted and observer.saw may be more than 50 ms apart.",
        ),
        (
            [100, 110, 5],
            [171, 180, 6],
            "unresolved",
            "actor.acted and observer.saw may be more than 50 ms apart.",
        ),
        (
            [100, 110, 5],
            [171, 180, 5],
            "conflicting",
            "actor.acted and observer.saw are more than 50 ms apart.",
        ),
        (
            [171, 180, 5],
            [100, 110, 5],
            "conflicting",
            "observer.saw and actor.acted are more than 50 ms apart.",
        ),
    ],
)
def test_durations(acted: list[int], saw: list[int], state: str, reason: str) -> None:
    claims = [said(SOON, A, interval=acted), *(said(SOON, d, interval=saw) for d in (B, C))]
    assert outcome(SOON, *claims) == (state, reason)


def test_one_long_claim_is_beyond_the_duration_by_itself() -> None:
    claims = [said(SOON, A, interval=[0, 51, 0])]
    claims += [said(SOON, device, interval=[20, 20, 0]) for device in (B, C)]
    found = finding(SOON, *claims)
    assert found.state == "unresolved"
    assert found.checks[0].reason == "actor.acted and actor.acted may be more than 50 ms apart."
    assert len(found.checks[0].values) == 1


def test_a_claim_without_an_interval_lacks_it() -> None:
    claims = [said(SOON, A, interval=[0, 0, 0]), said(SOON, B, interval=[9, 9, 0]), said(SOON, C)]
    assert outcome(SOON, *claims) == ("insufficient", "observer.saw has no interval.")
    claims[1] = said(SOON, B, interval=[90, 90, 0])
    assert outcome(SOON, *claims)[0] == "conflicting"


MOST = profile("quorum", fields=["actor.acted.x", "observer.saw.x"], at_least=2, within=1)


@pytest.mark.parametrize(
    ("values", "state", "reason"),
    [
        (("1", "2", "9"), "matched", "2 of 3 values agree within 1 m."),
        # 1 and 3 are apart, and 2 agrees with both.
        (("1", "2", "3"), "matched", "3 of 3 values agree within 1 m."),
        (("1", "5", "9"), "conflicting", "At most 1 of 3 values agree; 2 are needed."),
        (("1", "2", None), "matched", "2 of 2 values agree within 1 m."),
        (("1", None, None), "conflicting", "At most 1 of 1 values agree; 2 are needed."),
        ((None, None, None), "conflicting", "At most 0 of 0 values agree; 2 are needed."),
    ],
)
def test_quorum(values: tuple[str | None, ...], state: str, reason: str) -> None:
    claims = [said(MOST, device, x) for device, x in zip((A, B, C), values, strict=True)]
    assert outcome(MOST, *claims) == (state, reason)


def test_a_quorum_needs_no_more_than_it_needs() -> None:
    pair = [said(MOST, A, "1"), said(MOST, B, "2")]
    found = finding(MOST, *pair)
    assert found.checks[0].result == "pass"
    # The slot is missing all the same.
    assert found.state == "one_sided"
    assert outcome(MOST, said(MOST, A, "1"), said(MOST, B, "9")) == (
        "one_sided",
        "A claim observer.saw is missing.",
    )
    doubtful = said(MOST, C, "1")._replace(status="suspect")
    found = finding(MOST, said(MOST, A, "1"), said(MOST, B, "9"), doubtful)
    assert found.checks[-1].reason == "A claim observer.saw cannot be used."


def test_a_quorum_without_tolerance_and_with_a_relative_one() -> None:
    texts = profile("quorum", fields=["actor.acted.t", "observer.saw.t"], at_least=3)
    claims = []
    for device in (A, B, C):
        one = said(texts, device)
        assert one.claim is not None
        values = one.claim.values()[1:]
        values[6] = {"t": "clear"}
        claims.append(known(type(one.claim)(*values), device))
    assert outcome(texts, *claims) == ("matched", "3 of 3 values agree.")
    near = profile(
        "quorum",
        fields=["actor.acted.x", "observer.saw.x"],
        at_least=3,
        within_rel=from_text("0.1"),
    )
    claims = [said(near, device, x) for device, x in ((A, "10"), (B, "9"), (C, "9.5"))]
    assert outcome(near, *claims) == (
        "matched",
        "3 of 3 values agree within 0.1 of the larger one.",
    )


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("order", {"first": "actor.acted"}),
        ("order", {"first": "actor.acted", "then": "actor.acted"}),
        ("order", {"first": "actor.acted", "then": "observer.saw.x"}),
        ("order", {"first": "actor.acted", "then": 7}),
        ("order", {"first": "actor.acted", "then": "observer.saw", "stray": 1}),
        ("within", {"claims": [], "duration_ms": 1}),
        ("within", {"claims": ["actor.acted", "actor.acted"], "duration_ms": 1}),
        ("within", {"claims": ["actor.acted", "nobody.saw"], "duration_ms": 1}),
        ("within", {"claims": ["actor.acted", "observer.saw"], "duration_ms": -1}),
        ("within", {"claims": ["actor.acted", "observer.saw"], "duration_ms": True}),
        ("within", {"claims": ["actor.acted", "observer.saw"], "duration_ms": 2**40}),
        ("within", {"claims": "actor.acted", "duration_ms": 1}),
        ("within", {"claims": ["actor.acted", "observer.saw"], "duration_ms": 1, "x": 1}),
        ("quorum", {"fields": ["actor.acted.x"]}),
        ("quorum", {"fields": ["actor.acted.x"], "at_least": 0}),
        ("quorum", {"fields": ["actor.acted.x"], "at_least": 33}),
        ("quorum", {"fields": ["actor.acted.x"], "at_least": True}),
        ("quorum", {"fields": ["actor.acted.x", "actor.acted.t"], "at_least": 1}),
        ("quorum", {"fields": ["actor.acted.t"], "at_least": 1, "within": 1}),
    ],
)
def test_parameters_that_cannot_be_read(kind: str, parameters: dict[str, Any]) -> None:
    under = profile(kind, **parameters)
    interaction = make_claim(under.digest, PARTIES, "actor", "acted", {}).interaction_id()
    found = find(
        PartySetInputs(
            under,
            worlds.NAMESPACE,
            interaction,
            PARTIES,
            [said(under, A)],
            (),
            closed=True,
            silence=(),
        )
    )
    assert found.state == "insufficient"
    assert found.checks[0].reason == "The parameters of the check it cannot be read."


@pytest.mark.parametrize("under", [IN_TURN, SOON, MOST])
def test_a_role_without_a_device_leaves_nothing_to_compare(under: Profile) -> None:
    alone = {"actor": [A]}
    claim = make_claim(under.digest, alone, "actor", "acted", {})
    given = PartySetInputs(
        under,
        worlds.NAMESPACE,
        claim.interaction_id(),
        alone,
        [known(claim, A)],
        (),
        closed=True,
        silence=(),
    )
    found = find(given)
    assert found.encode() == naive.find(given)
    if under is MOST:
        # There is a place with a slot, and too few values in it.
        assert found.state == "conflicting"
    else:
        assert found.state == "matched"
        assert found.checks[0].reason == "There is nothing to compare."
