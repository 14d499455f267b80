"""Policies: their text, and demands that compose."""

import pytest

from support.story import FIRMWARE, NOW_S, Story, digest_text, disclose
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.verify import Policy, Report, check, check_evidence
from tallystick.verify.demands import (
    AllOf,
    AnyOf,
    AtLeast,
    Demand,
    Firmware,
    MinimumCustody,
    Profiles,
    States,
)

STORY = Story()
REPORT = check_evidence(STORY.evidence(), Policy.parse(STORY.policy), NOW_S)


def refused(demand: Demand, report: Report = REPORT) -> str:
    with pytest.raises(Unverified) as caught:
        demand.demand(report)
    assert caught.value.reason == "bad-policy"
    return caught.value.message


def test_demands_compose() -> None:
    good, bad = MinimumCustody(0), States(frozenset({"conflicting"}))
    AllOf((good, AtLeast(3))).demand(REPORT)
    AnyOf((bad, good)).demand(REPORT)
    both = refused(AllOf((bad, MinimumCustody(3), good)))
    assert "is matched, the policy accepts conflicting" in both
    assert "held in software, the policy needs secure-element" in both
    assert "; or " in refused(AnyOf((bad, MinimumCustody(1))))
    assert "no demand" in refused(AnyOf(()))
    assert "3 of the 4" in refused(AtLeast(4))
    assert "1 of the 2" in refused(AtLeast(2, ("City",)))


def test_firmware_comes_from_the_boot_event_of_the_same_boot() -> None:
    Firmware(frozenset({FIRMWARE})).demand(
        check_evidence(_without_boot_records(keep=True), Policy.parse(STORY.policy))
    )
    assert "none that the policy accepts" in refused(Firmware(frozenset({bytes(32)})))
    bare = check_evidence(_without_boot_records(keep=False), Policy.parse(STORY.policy))
    assert "not disclosed" in refused(Firmware(frozenset({FIRMWARE})), bare)


def _without_boot_records(*, keep: bool) -> EvidenceFile:
    file = STORY.evidence()
    claims = [half for half in file.halves if half.index > 1]
    file.halves = file.halves if keep else claims
    return file


def test_a_record_before_its_boot_event_has_no_firmware() -> None:
    file = STORY.evidence()
    file.halves.append(disclose(STORY.giver, 0))
    report = check_evidence(file, Policy.parse(STORY.policy))
    assert [record.firmware for record in report.records if record.index == 0] == [None]


def test_profiles_are_accepted_by_digest_or_publisher() -> None:
    digest = STORY.profile.digest
    Profiles(frozenset({digest}), frozenset()).demand(REPORT)
    assert "none that the policy accepts" in refused(Profiles(frozenset(), frozenset({"acme"})))
    file = STORY.evidence()
    file.entries.append((STORY.signed_profile(STORY.acme), []))
    text = STORY.policy.replace(
        f'digests = ["{digest_text(STORY.profile)}"]', f'publishers = ["{STORY.acme.root_line}"]'
    )
    check(file, Policy.parse(text), NOW_S)
    with pytest.raises(Unverified):
        check(STORY.evidence(), Policy.parse(text), NOW_S)


def test_the_age_of_key_status_needs_a_time() -> None:
    policy = Policy.parse(
        STORY.policy.replace("[profiles]", 'devices.status_age = "2 h"\n[profiles]')
    )
    check(STORY.evidence(), policy, NOW_S)
    with pytest.raises(Unverified, match="too old"):
        check(STORY.evidence(), policy, NOW_S + 7200)
    with pytest.raises(Unverified, match="no time was given"):
        check(STORY.evidence(), policy)


def test_a_policy_without_validators_believes_the_claims_alone() -> None:
    text = STORY.policy.split("[validators]")[0]
    report = check(STORY.evidence(), Policy.parse(text), NOW_S)
    assert report.party_sets[0].own is not None
    assert "no verdict was verified" in report.outcome
    assert report.party_sets[0].states == ["matched"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("roots = [", "root = [", "roots: is missing"),
        ("at_least = 2", "at_least = 4", "more organisations than the 3 here"),
        ("at_least = 2", 'at_least = "2"', "whole number"),
        ('organisation = "City"', 'organization = "City"', "organisation: is missing"),
        ('digests = ["', 'digests = ["A', "43 base64url"),
        ("[profiles]", "[profile]", "profile: is not known here"),
        ('roots = ["acme+', 'roots = ["acme-', "roots"),
        ("[validators]", '[outcome]\nstates = ["true"]\n[validators]', "no state of a verdict"),
        ("[validators]", '[outcome]\nstates = ["pending"]\n[validators]', "no state"),
        ('devices.custody = "software"', 'devices.custody = "vault"', "one of software"),
        ('devices.custody = "software"', 'devices.firmware = ["AB"]', "64 hexadecimal"),
        ('note_key = "insurer.example/log+', 'note_key = "insurer.example/log+0', "note_key"),
    ],
)
def test_an_error_in_a_policy_names_the_line_and_the_key(old: str, new: str, words: str) -> None:
    assert old in STORY.policy
    with pytest.raises(Malformed, match="line") as caught:
        Policy.parse(STORY.policy.replace(old, new, 1))
    assert words in caught.value.message


def test_two_roots_of_one_name_are_refused() -> None:
    text = STORY.policy.replace("roots = [", f'roots = ["{STORY.acme.root_line}", ', 1)
    with pytest.raises(Malformed, match="given twice"):
        Policy.parse(text)
