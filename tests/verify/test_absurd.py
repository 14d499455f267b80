"""A25: two that collude publish a profile that matches anything; who relies on it sees that."""

import pytest

from support.story import NOW_S, Story, digest_text
from tallystick.evidence.errors import Unverified
from tallystick.evidence.profile import Profile
from tallystick.verify import Policy, check, check_evidence, profiles
from tallystick.verify.evidence_check import tolerances
from tallystick.verify.profile_toml import parse_profile

HONEST = profiles.load("handover")


def absurd() -> Profile:
    """The shipped handover's name and checks, with a tolerance of a thousand kilometres."""
    text = profiles.text("handover")
    assert text.count('within = "0.25') == 1
    begin = text.index('within = "0.25')
    end = text.index('"', begin + len('within = "'))
    return parse_profile(text[:begin] + 'within = "1000000' + text[end:])


# What both say is a hundred kilometres apart.
STORY = Story(x="100000", profile=absurd())


def test_validators_find_a_match_and_a_policy_that_names_profiles_refuses_it() -> None:
    assert STORY.profile.name == HONEST.name
    assert STORY.profile.digest != HONEST.digest
    policy = STORY.policy.replace(digest_text(STORY.profile), digest_text(HONEST))
    report = check_evidence(STORY.evidence(), Policy.parse(policy), NOW_S)
    assert report.party_sets[0].states == ["matched"]
    with pytest.raises(Unverified) as refused:
        check(STORY.evidence(), Policy.parse(policy), NOW_S)
    assert refused.value.reason == "bad-policy"
    assert "none that the policy accepts" in refused.value.message
    # Under the profile that was named, the same words conflict.
    honest = Story(x="100000")
    found = check_evidence(honest.evidence(), Policy.parse(honest.policy), NOW_S)
    assert found.party_sets[0].states == ["conflicting"]


def test_a_publisher_that_nobody_named_is_none() -> None:
    file = STORY.evidence()
    file.entries.append((STORY.signed_profile(STORY.borealis), []))
    text = STORY.policy.replace(
        f'digests = ["{digest_text(STORY.profile)}"]', f'publishers = ["{STORY.acme.root_line}"]'
    )
    with pytest.raises(Unverified, match="none that the policy accepts"):
        check(file, Policy.parse(text), NOW_S)


def test_a_policy_without_profiles_accepts_none() -> None:
    begin = STORY.policy.index("[profiles]")
    end = STORY.policy.index("\n[", begin + 1)
    text = STORY.policy[:begin] + STORY.policy[end:]
    with pytest.raises(Unverified):
        check(STORY.evidence(), Policy.parse(text), NOW_S)


def test_every_tolerance_is_printed() -> None:
    """Whoever accepts the profile all the same is shown what it tolerates."""
    report = check(STORY.evidence(), Policy.parse(STORY.policy), NOW_S)
    assert any(line.endswith("within 1000000") for line in report.tolerances)


@pytest.mark.parametrize("name", profiles.NAMES)
def test_no_parameter_of_a_check_is_left_out(name: str) -> None:
    profile = profiles.load(name)
    lines = tolerances(profile)
    assert len(lines) == 1 + len(profile.checks)
    for line, (_, check_name, parameters) in zip(lines[1:], profile.checks, strict=True):
        assert check_name in line
        for key, value in parameters.items():
            shown = line.partition(f"{key} ")[2]
            if isinstance(value, int) and not isinstance(value, bool):
                assert shown.partition(",")[0] == str(value)
            assert shown
