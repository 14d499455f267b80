"""The documents cannot drift: their examples are parsed and run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.story import Story
from tallystick.evidence.enrolment import CUSTODIES
from tallystick.evidence.finding import STATES
from tallystick.verify import Policy, profile_toml, profiles, reconcile
from tallystick.verify.profile_examples import parse_examples, try_example
from tallystick.verify.profile_toml import parse_profile

STORY = Story()
DOCS = Path(__file__).parents[2] / "docs"
RECONCILIATION = (DOCS / "reconciliation.md").read_text()
POLICY = (DOCS / "policy.md").read_text()


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_example_profile_is_one() -> None:
    example, examples = blocks(RECONCILIATION, "toml")
    made = parse_profile(example)
    assert f'"{made.name}@{made.version}"' in example
    assert [try_example(one).faults for one in parse_examples(examples, made)] == [[]]


def test_every_shipped_profile_stands_in_the_page_with_its_checks() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| .* \| (`.*`) \|$", RECONCILIATION, re.MULTILINE)
    named = {name: set(re.findall(r"\w+", kinds)) for name, kinds in rows if name in profiles.NAMES}
    assert set(named) == set(profiles.NAMES)
    for name, kinds in named.items():
        assert {check[0] for check in map(list, profiles.load(name).checks)} == kinds


def test_the_states_are_those_of_the_format() -> None:
    rows = re.findall(r"^\| \d \| .* \| `(\w+)` \|$", RECONCILIATION, re.MULTILINE)
    assert set(rows) == set(STATES)


def test_the_limits_are_those_of_the_code() -> None:
    limits = (
        f"Limits: {profile_toml.ROLES_MAX} roles, {profile_toml.CLAIMS_MAX} claims a role, "
        f"{profile_toml.FIELDS_MAX} fields a claim, {profile_toml.CHECKS_MAX} checks, "
    )
    assert limits in RECONCILIATION
    assert f"ends after {reconcile.VALUES_MAX}" in RECONCILIATION
    assert f"longer than {reconcile.VALUE_BYTES_MAX} bytes" in RECONCILIATION
    assert f"the {reconcile.CLAIMS_WITHOUT_SLOTS_MAX} claims" in RECONCILIATION


def test_every_reason_of_the_engine_is_specified() -> None:
    source = Path(reconcile.__file__).parent
    files = [*sorted(source.glob("checks/*.py")), source / "reconcile.py", source / "view.py"]
    sentences = {
        sentence
        for file in files
        for sentence in re.findall(r'(?<!")"([A-Z{][^"]* [^"]*\.)"(?!")', file.read_text())
    }
    assert len(sentences) >= 20
    for sentence in sentences:
        # What stands in braces is a placeholder in the page, or one of its words.
        parts = map(re.escape, re.split(r"\{[^}]*\}", sentence))
        assert re.search(f"`{'[^`]*'.join(parts)}`", RECONCILIATION), sentence


def test_the_example_policy_is_one() -> None:
    (example,) = blocks(POLICY, "toml")
    key = STORY.acme.root_line.partition("+")[2]
    text = re.sub(r'"(acme|borealis|insurer|city)\+[^"]*"', rf'"\1+{key}"', example)
    text = re.sub(r'"5f0c[^"]*"', f'"{"5f" * 32}"', text)
    text = re.sub(r'"M2c[^"]*"', f'"{"M" * 42}A"', text)
    text = re.sub(r'note_key = "[^"]*"', f'note_key = "{STORY.validators[0].vkey}"', text)
    witnesses = iter(STORY.validators)
    text = re.sub(
        r'^key = "[^"]*/log\+[^"]*"|^key = "log\.[^"]*"',
        lambda _: f'key = "{next(witnesses).vkey}"',
        text,
        flags=re.MULTILINE,
    )
    policy = Policy.parse(text)
    assert len(policy.trust.validators) == 2
    assert len(policy.witnesses.organisations) == 3
    assert policy.witnesses.limits(None) == []
    assert all(name in example for name in CUSTODIES)


def test_the_snippet_runs(tmp_path: Path) -> None:
    snippet = blocks(POLICY, "python")[0]
    (tmp_path / "handover.tally").write_bytes(STORY.evidence().encode())
    (tmp_path / "policy.toml").write_text(STORY.policy)
    command = [sys.executable, "-c", snippet]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("handover@1 order-4711 in dock-3: matched")
    assert "not checked: whether the claims are true" in done.stdout
    (tmp_path / "policy.toml").write_text(STORY.policy + '[outcome]\nstates = ["one_sided"]\n')
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "(bad-policy)" in done.stderr


def test_the_snippet_of_a_policy_in_parts_runs(tmp_path: Path) -> None:
    snippet = blocks(POLICY, "python")[1]
    (tmp_path / "handover.tally").write_bytes(STORY.evidence().encode())
    (tmp_path / "policy.toml").write_text(STORY.policy)
    command = [sys.executable, "-c", snippet]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    first, *claims = done.stdout.splitlines()
    assert first.startswith("handover@1 order-4711 in dock-3 ['matched'] {")
    assert {"giver", "receiver"} <= set(" ".join(claims).split())


def test_what_integrators_import_is_sorted_and_there() -> None:
    import tallystick.verify as api

    assert api.__all__ == sorted(api.__all__)
    assert all(hasattr(api, name) for name in api.__all__)


def test_a_demand_that_is_added_counts() -> None:
    from tallystick.verify import States, Unverified, check

    policy = Policy.parse(STORY.policy)
    evidence = STORY.evidence()
    check(evidence, policy)
    with pytest.raises(Unverified) as refused:
        check(evidence, policy.also(States(frozenset({"one_sided"}))))
    assert refused.value.reason == "bad-policy"
