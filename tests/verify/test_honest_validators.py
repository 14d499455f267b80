"""A09: fewer honest validators than the policy needs; a table for 3, 4 and 7, and every number.

The table is tried: n validators, f of which are away, or lie in one of two ways, and every k that
a policy may demand. Then what docs/policy.md says is compared with it.
"""

import re
from functools import cache
from pathlib import Path

import pytest

from support.story import NOW_S, Story, StoryValidator
from tallystick.evidence import verdict
from tallystick.evidence.errors import Unverified
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.verify import Policy, Report, check_evidence, load_evidence

PAGE = Path(__file__).parents[2] / "docs" / "policy.md"
SIZES = (3, 4, 7)
ROW = re.compile(r"^\| (\d) \| (\d) \| (\d) \| any number \|$", re.MULTILINE)


@cache
def story(n: int, x: str = "1.6") -> Story:
    return Story(x=x, names=tuple(f"validator-{number}" for number in range(n)))


def lie(liar: StoryValidator, state_of: StoryValidator, *, other_inputs: bool) -> bytes:
    """A verdict by the liar with the state that another story gives."""
    true = verdict.parse(liar.entries[-1])
    finding = verdict.parse(state_of.entries[-1]).finding
    finding.inputs = bytes(32) if other_inputs else true.finding.inputs
    finding.claims = true.finding.claims
    finding._data = None
    false = verdict.Verdict(finding, true.size, None, [], true.time_ms)
    return false.sign(liar.key, liar.name, false.subject())


def file_of(told: Story, shown: list[StoryValidator]) -> EvidenceFile:
    """The evidence with what these validators say; the others are away, or are left out."""
    file = told.evidence()
    file.entries = [entry for validator in shown for entry in told.entries(validator)]
    file.notes = [validator.note() for validator in shown]
    return load_evidence(file.encode())


def policies(told: Story, *, recomputed: bool = True) -> dict[int, Policy]:
    """For each k that can be demanded."""
    needs = f"recomputed = {str(recomputed).lower()}\nat_least = K"
    text = told.policy.replace("at_least = 2", needs)
    return {
        k: Policy.parse(text.replace("K", str(k), 1)) for k in range(1, len(told.validators) + 1)
    }


def refusals(told: Story, report: Report, *, recomputed: bool = True) -> dict[int, str]:
    """What each k that is not fulfilled is told."""
    found = {}
    for k, policy in policies(told, recomputed=recomputed).items():
        try:
            policy.demand(report, NOW_S)
        except Unverified as refusal:
            found[k] = f"{refusal.reason}: {refusal.message}"
    assert all(one.startswith("bad-policy: ") for one in found.values())
    return found


def checked(told: Story, file: EvidenceFile) -> Report:
    return check_evidence(file, policies(told)[1], NOW_S)


@pytest.mark.parametrize("n", SIZES)
def test_some_are_away(n: int) -> None:
    told = story(n)
    for f in range(n + 1):
        refused = refusals(told, checked(told, file_of(told, told.validators[f:])))
        assert list(refused) == list(range(n - f + 1, n + 1)), f"{f} of {n} are away"
        for k, message in refused.items():
            assert f"{n - f} of the {k} validators' organisations that the policy needs" in message


def with_liars(n: int, f: int, *, other_inputs: bool, x: str = "3") -> Story:
    """What happened is a conflict, unless x says otherwise; f of n say that both sides agree."""
    told = Story(x=x, names=story(n).names)
    for liar, honest in zip(told.validators[:f], story(n).validators, strict=False):
        liar.entries[-1] = lie(liar, honest, other_inputs=other_inputs)
    return told


@pytest.mark.parametrize("n", SIZES)
def test_some_decide_against_what_they_read(n: int) -> None:
    """Whoever recomputes sees it; without them it is as if they were away."""
    for f in range(1, n + 1):
        told = with_liars(n, f, other_inputs=False)
        with pytest.raises(Unverified) as proven:
            checked(told, file_of(told, told.validators))
        assert proven.value.reason == "tampered"
        assert "validator-0 is not what its own inputs give" in proven.value.message
        # Left out, they are missed; and who accepts conflicts is told how many there are.
        report = checked(told, file_of(told, told.validators[f:]))
        text = told.policy + '[outcome]\nstates = ["conflicting"]\n'
        for k in range(1, n + 1):
            policy = Policy.parse(text.replace("at_least = 2", f"at_least = {k}"))
            if k <= n - f:
                policy.demand(report, NOW_S)
            else:
                with pytest.raises(Unverified, match=f"{n - f} of the {k} validators"):
                    policy.demand(report, NOW_S)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("shown", ["all", "liars"])
def test_some_lie_together_about_what_nobody_discloses(n: int, shown: str) -> None:
    """However many they are, and whether honest ones are left out: a conflict never `matched`."""
    for f in range(1, n + 1):
        told = with_liars(n, f, other_inputs=True)
        who = told.validators if shown == "all" else told.validators[:f]
        report = checked(told, file_of(told, who))
        for recomputed in (True, False):
            refused = refusals(told, report, recomputed=recomputed)
            assert list(refused) == list(range(1, n + 1))
            assert all("is conflicting, the policy accepts" in one for one in refused.values())


@pytest.mark.parametrize("n", SIZES)
def test_some_vouch_for_what_nobody_can_recompute(n: int) -> None:
    """It may even be true: nobody knows what they read, so they are missed."""
    for f in range(1, n + 1):
        told = with_liars(n, f, other_inputs=True, x="1.6")
        report = checked(told, file_of(told, told.validators))
        refused = refusals(told, report)
        assert list(refused) == list(range(n - f + 1, n + 1))
        assert all(f"{n - f} of the {k} validators" in one for k, one in refused.items())
        # Who does not ask for it gets what he asks for.
        assert refusals(told, report, recomputed=False) == {}


def test_the_page_has_the_table() -> None:
    """n, k, how many may be missing, how many may lie: as tried above."""
    rows = [tuple(map(int, row)) for row in ROW.findall(PAGE.read_text())]
    assert rows == [(n, k, n - k) for n in SIZES for k in range(1, n + 1)]
