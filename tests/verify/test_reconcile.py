"""The engine: states, rules, and that nothing but the inputs counts (docs/reconciliation.md)."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.evidence.errors import Malformed
from tallystick.evidence.finding import Finding, parse
from tallystick.evidence.number import from_text
from tallystick.evidence.profile import Profile
from tallystick.verify import profiles
from tallystick.verify.checks import CHECKS
from tallystick.verify.inputs import KnownClaim, PartySetInputs, TimeEvidence
from tallystick.verify.reconcile import find
from verify import naive, worlds
from verify.worlds import DEVICES, known, make_claim

GIVER, RECEIVER = DEVICES[:2]
PARTIES = {"giver": [GIVER], "receiver": [RECEIVER]}
HANDOVER = profiles.load("handover")


def handover(role: str, item: str = "pallet-7", x: str = "1.5", **more: Any) -> Any:
    name = {"giver": "released", "receiver": "acquired"}[role]
    fields = {"item": item, "position_m": [from_text(x), 2], **more.pop("fields", {})}
    parties = more.pop("parties", PARTIES)
    return make_claim(HANDOVER.digest, parties, role, name, fields, **more)


def inputs(*claims: KnownClaim, **more: Any) -> PartySetInputs:
    interaction = handover("giver").interaction_id()
    given = PartySetInputs(
        HANDOVER, worlds.NAMESPACE, interaction, PARTIES, claims, (), closed=False, silence=()
    )
    return given._replace(**more)


def both(given: PartySetInputs) -> Finding:
    """The engine's finding, which the naive one repeats byte by byte."""
    finding = find(given)
    assert finding.encode() == naive.find(given)
    if finding.state != "pending":
        assert parse(finding.encode()) == finding
    return finding


def results(finding: Finding) -> dict[str, str]:
    return {check.name: check.reason for check in finding.checks}


def test_matched() -> None:
    finding = both(
        inputs(known(handover("giver"), GIVER), known(handover("receiver", x="1.75"), RECEIVER))
    )
    assert finding.state == "matched"
    assert results(finding) == {
        "same-item": "The values agree.",
        "same-place": "The values agree within 0.25 m.",
    }
    assert not any(check.values for check in finding.checks)


def test_a_difference_beyond_the_tolerance_conflicts_and_blames_nobody() -> None:
    finding = both(
        inputs(known(handover("giver"), GIVER), known(handover("receiver", x="1.751"), RECEIVER))
    )
    assert finding.state == "conflicting"
    check = finding.checks[1]
    assert check.reason == (
        "giver.released.position_m and receiver.acquired.position_m differ by more than 0.25 m."
    )
    assert [value.value for value in check.values] == [
        [from_text("1.5"), 2],
        [from_text("1.751"), 2],
    ]
    assert check.blamed == []


def test_pending_until_closed_then_one_sided() -> None:
    only = known(handover("giver"), GIVER)
    assert both(inputs(only)).state == "pending"
    assert both(inputs(only)).checks == []
    finding = both(inputs(only, closed=True))
    assert finding.state == "one_sided"
    assert [tuple(row) for row in finding.missing] == [
        ("receiver", RECEIVER, "acquired", "unheard")
    ]
    assert find(inputs(only)).inputs != finding.inputs


def test_silence_needs_evidence_and_the_earliest_counts() -> None:
    only = known(handover("giver"), GIVER)
    late = TimeEvidence(RECEIVER, bytes(32), bytes(32), 9000)
    early = TimeEvidence(RECEIVER, b"\x01" * 32, bytes(32), 8000)
    finding = both(inputs(only, closed=True, silence=[late, early]))
    assert finding.missing[0].absence == "silent"
    assert finding == find(inputs(only, closed=True, silence=[early]))
    assert finding != find(inputs(only, closed=True, silence=[late]))
    # Evidence about somebody who is not missing is none.
    other = TimeEvidence(GIVER, bytes(32), bytes(32), 1)
    assert find(inputs(only, closed=True, silence=[other])) == find(inputs(only, closed=True))


def test_one_claim_told_in_two_ways_counts_in_one_way() -> None:
    low = known(handover("giver"), GIVER)
    ways = [low, low._replace(status="suspect"), low._replace(claim=None), low._replace(custody=3)]
    other = known(handover("receiver"), RECEIVER)
    expected = both(inputs(*ways, other))
    assert expected.state == "matched"
    for at in range(len(ways)):
        assert both(inputs(*ways[at:], other, *ways[:at])) == expected


def test_a_late_claim_completes_a_closed_set() -> None:
    claims = known(handover("giver"), GIVER), known(handover("receiver"), RECEIVER)
    assert both(inputs(*claims, closed=True)) == both(inputs(*claims, closed=False))


@pytest.mark.parametrize("status", ["suspect", "compromised"])
def test_a_claim_by_a_doubtful_key_is_insufficient(status: str) -> None:
    doubtful = known(handover("receiver", x="99"), RECEIVER, status=status)
    finding = both(inputs(known(handover("giver"), GIVER), doubtful))
    assert finding.state == "insufficient"
    assert finding.checks[0].name == "usable"
    assert tuple(finding.checks[0].values[0]) == (doubtful.reference, "status", status)
    # It does not put its peer in the wrong either.
    assert both(inputs(doubtful, closed=True)).state == "insufficient"


@pytest.mark.parametrize("status", ["active", "rotated", "retired", "lost"])
def test_other_statuses_stay_good(status: str) -> None:
    claims = known(handover("giver"), GIVER), known(handover("receiver"), RECEIVER, status=status)
    assert both(inputs(*claims)).state == "matched"


def test_a_thief_undoes_nothing() -> None:
    honest = known(handover("giver"), GIVER), known(handover("receiver"), RECEIVER)
    stolen = known(handover("giver", item="pallet-8"), GIVER, index=5, status="compromised")
    finding = both(inputs(*honest, stolen))
    assert finding == find(inputs(*honest))
    assert finding.state == "matched"


def test_a_claim_without_a_body_is_insufficient_and_not_missing() -> None:
    hidden = known(handover("receiver"), RECEIVER)._replace(claim=None)
    finding = both(inputs(known(handover("giver"), GIVER), hidden))
    assert finding.state == "insufficient"
    assert finding.missing == []
    assert [row.name for row in finding.claims if row.device == RECEIVER] == ["?"]
    full = find(inputs(known(handover("giver"), GIVER), known(handover("receiver"), RECEIVER)))
    assert full.inputs != finding.inputs


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"item": 7}, "item"), ({"stray": 1}, "stray"), ({"position_m": ["x"]}, "position_m")],
)
def test_a_claim_that_does_not_fit_is_insufficient(fields: dict[str, Any], field: str) -> None:
    odd = known(handover("receiver", fields=fields), RECEIVER)
    finding = both(inputs(known(handover("giver"), GIVER), odd))
    assert finding.state == "insufficient"
    assert tuple(finding.checks[0].values[0]) == (odd.reference, "fit", field)


def test_two_claims_for_one_role_conflict_and_blame_their_maker() -> None:
    claims = [
        known(handover("giver"), GIVER),
        known(handover("giver", item="pallet-8"), GIVER, index=4),
        known(handover("receiver"), RECEIVER),
    ]
    finding = both(inputs(*claims))
    assert finding.state == "conflicting"
    assert finding.checks[0].name == "once"
    assert finding.checks[0].blamed == [GIVER]
    assert {value.claim for value in finding.checks[0].values} == {
        claims[0].reference,
        claims[1].reference,
    }
    assert results(finding)["same-item"] == "A claim giver.released is contradicted."


def test_the_same_said_again_is_no_contradiction() -> None:
    claims = [
        known(handover("giver"), GIVER),
        known(handover("giver", uptime_ms=9999), GIVER, index=4),
        known(handover("receiver"), RECEIVER),
    ]
    finding = both(inputs(*claims))
    assert finding.state == "matched"
    assert len(finding.claims) == 2


def test_a_claim_under_another_map_contradicts_its_maker_only() -> None:
    stranger = DEVICES[4]
    honest = known(handover("giver"), GIVER), known(handover("receiver"), RECEIVER)
    elsewhere = {"giver": [GIVER], "receiver": [stranger]}
    # A stranger names the giver in a map of its own: nothing happens.
    squat = known(handover("receiver", parties=elsewhere), stranger)
    assert both(inputs(*honest, others=[squat])) == find(inputs(*honest))
    # The giver itself said so there: it contradicts itself.
    twice = known(handover("giver", parties=elsewhere), GIVER, index=7)
    finding = both(inputs(*honest, others=[squat, twice]))
    assert finding.state == "conflicting"
    assert finding.checks[0].blamed == [GIVER]
    # In another interaction it may hand over as it likes.
    later = known(handover("giver", parties=elsewhere, task="order-2"), GIVER, index=7)
    assert both(inputs(*honest, others=[later])) == find(inputs(*honest))


def test_an_unknown_profile_is_insufficient_and_compares_with_nothing() -> None:
    claims = known(handover("giver"), GIVER), known(handover("receiver"), RECEIVER)
    finding = both(inputs(*claims, profile=None))
    assert finding.state == "insufficient"
    assert results(finding) == {"known": "The profile is not known."}
    assert finding.inputs != find(inputs(*claims)).inputs
    assert finding.profile == HANDOVER.digest
    hidden = [one._replace(claim=None) for one in claims]
    with pytest.raises(Malformed):
        find(inputs(*hidden, profile=None))


def test_a_map_that_does_not_fit_is_insufficient() -> None:
    crowd = {"giver": [GIVER], "receiver": sorted(DEVICES[1:3])}
    claims = [known(handover("giver", parties=crowd), GIVER)]
    finding = both(inputs(*claims, parties=crowd))
    assert finding.state == "insufficient"
    assert results(finding) == {"fit": "The party map does not fit the profile."}
    alone = {"giver": [GIVER]}
    finding = both(inputs(known(handover("giver", parties=alone), GIVER), parties=alone))
    assert finding.state == "insufficient"


def with_check(kind: str, parameters: dict[str, Any]) -> Profile:
    return Profile(
        "p", 1, "acme", 1000, HANDOVER.roles, HANDOVER.claims, [[kind, "the-check", parameters]]
    )


def claims_under(profile: Profile, **more: Any) -> list[KnownClaim]:
    made = []
    for role, device in (("giver", GIVER), ("receiver", RECEIVER)):
        claim = handover(role, **more)
        values = claim.values()[1:]
        values[3] = profile.digest
        made.append(known(type(claim)(*values), device))
    return made


def test_a_check_that_is_not_registered_leaves_all_insufficient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A validator of an older release, given a newer profile."""
    monkeypatch.delitem(CHECKS, "exclusive")
    monkeypatch.setattr(naive, "KNOWN_CHECKS", tuple(CHECKS))
    profile = with_check("exclusive", {"grant": "giver.released", "resource": "item"})
    finding = both(inputs(*claims_under(profile), profile=profile))
    assert finding.state == "insufficient"
    assert [check.result for check in finding.checks] == ["not_evaluated"]
    assert finding.checks[0].reason == (
        "The profile names the check exclusive, which is not known."
    )


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("agree", {}),
        ("agree", {"fields": 7}),
        ("agree", {"fields": [7]}),
        ("agree", {"fields": ["giver.released"]}),
        ("agree", {"fields": ["nobody.released.item"]}),
        ("agree", {"fields": ["giver.released.item", "giver.released.item"]}),
        ("agree", {"fields": ["giver.released.item"], "within": 1}),
        ("agree", {"fields": ["giver.released.speed_m_s"], "within": -1}),
        ("agree", {"fields": ["giver.released.speed_m_s"], "within": "1"}),
        ("agree", {"fields": ["giver.released.speed_m_s"], "within": 1, "within_rel": 1}),
        ("agree", {"fields": ["giver.released.speed_m_s", "giver.released.item"]}),
        ("agree", {"fields": ["giver.released.speed_m_s"], "stray": 1}),
        ("limit", {"fields": ["giver.released.item"]}),
        ("limit", {"fields": []}),
    ],
)
def test_parameters_that_nobody_can_read_leave_all_insufficient(
    kind: str, parameters: dict[str, Any]
) -> None:
    profile = with_check(kind, parameters)
    finding = find(inputs(*claims_under(profile), profile=profile))
    assert finding.state == "insufficient"
    assert results(finding) == {"known": "The parameters of the check the-check cannot be read."}


def test_what_claims_do_not_decide_is_unresolved() -> None:
    profile = with_check("order", {"first": "giver.released", "then": "receiver.acquired"})
    claims = claims_under(profile, interval=[1, 2, 0])
    finding = both(inputs(*claims, profile=profile))
    assert finding.state == "unresolved"
    assert both(inputs(*claims[:1], profile=profile, closed=True)).state == "one_sided"


def test_a_violated_constraint_conflicts_whatever_the_device_says() -> None:
    profile = with_check("limit", {"fields": ["giver.released.speed_m_s"]})

    def finding(speed: str, operator: str, limit: str, unit: str | None, held: bool) -> Finding:
        claims = claims_under(
            profile,
            fields={"speed_m_s": from_text(speed)},
            constraints={"speed_m_s": [operator, from_text(limit), unit, held]},
        )
        return both(inputs(*claims, profile=profile))

    assert finding("0.5", "<=", "0.5", "m/s", True).state == "matched"
    for held in (True, False):
        bad = finding("0.501", "<=", "0.5", None, held)
        assert bad.state == "conflicting"
        assert bad.checks[0].reason == "giver.released.speed_m_s does not satisfy its constraint."
        assert bad.checks[0].blamed == [GIVER]
    lie = finding("0.4", "<", "0.5", None, False)
    assert lie.state == "conflicting"
    assert lie.checks[0].reason.endswith("and its maker says that it does not.")
    assert finding("0.4", "<", "0.5", "km/h", True).state == "insufficient"
    bare = claims_under(profile, fields={"speed_m_s": 1})
    assert both(inputs(*bare, profile=profile)).state == "insufficient"
    assert both(inputs(*claims_under(profile), profile=profile)).state == "insufficient"


@settings(max_examples=200)
@given(st.randoms(use_true_random=False))
def test_order_duplication_and_delay_change_nothing(rng: random.Random) -> None:
    given = worlds.random_inputs(rng)
    expected = find(given).encode()
    assert naive.find(given) == expected
    for _ in range(3):
        assert find(worlds.shuffled(given, rng)).encode() == expected


@settings(max_examples=200)
@given(st.randoms(use_true_random=False))
def test_every_signed_finding_fits_a_verdict(rng: random.Random) -> None:
    finding = find(worlds.random_inputs(rng))
    assert len(finding.encode()) < 61_440
    if finding.state != "pending":
        assert parse(finding.encode()) == finding


def test_the_largest_finding_fits_a_log_entry() -> None:
    """Every bound of a finding at once, so that no party set keeps a verdict from the log."""
    devices = sorted(worlds.device_id(str(n)) for n in range(32))
    role, name, field = "r" * 64, "c" * 64, "f" * 64
    claims = {role: {name: {field: ["text", None, None, True]}}}
    parameters = {"fields": [f"{role}.{name}.{field}"]}
    checks = [["agree", f"{n:064}", parameters] for n in range(16)]
    profile = Profile("p" * 64, 1, "acme", 1000, {role: [1, 32]}, claims, checks)
    parties = {role: devices}
    said = [
        known(
            make_claim(profile.digest, parties, role, name, {field: f"{n}" * 100}),
            device,
            index=n,
            status="active",
        )
        for device in devices
        for n in (1, 2)
    ]
    interaction = said[0].claim.interaction_id() if said[0].claim else b""
    given_ = PartySetInputs(
        profile, "site-1", interaction, parties, said, (), closed=True, silence=()
    )
    finding = find(given_)
    assert finding.state == "conflicting"
    assert len(finding.claims) == 64
    assert len(finding.encode()) < 48_000
    assert find(given_).encode() == naive.find(given_)
    alone = find(given_._replace(claims=[one for one in said if one.device == devices[0]]))
    assert len(alone.missing) == 31
