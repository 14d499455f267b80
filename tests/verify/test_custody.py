"""How keys are held: what a policy demands, what a report says, and what a verdict may claim."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support import heldkeys
from support.devices import VALID_S, Fleet
from support.story import NOW_S, Story
from tallystick.evidence.enrolment import CUSTODIES
from tallystick.evidence.errors import Unverified
from tallystick.evidence.finding import Finding
from tallystick.hw.software_key import FileKey
from tallystick.verify import Policy, check
from tallystick.verify.evidence_check import check_evidence
from tallystick.verify.inputs import KnownClaim, TimeEvidence


def in_chip(_fleet: Fleet, _signer: FileKey) -> tuple[int, list[Any]]:
    return 3, [["atecc608-config", heldkeys.atecc608().encode()]]


def in_token(_fleet: Fleet, _signer: FileKey) -> tuple[int, list[Any]]:
    return 1, [["pkcs11-attributes", heldkeys.pkcs11().encode()]]


def in_open_chip(_fleet: Fleet, _signer: FileKey) -> tuple[int, list[Any]]:
    zone = heldkeys.with_byte(heldkeys.config_zone(), 86, 0x55)
    return 3, [["atecc608-config", heldkeys.atecc608(zone).encode()]]


def by_word(_fleet: Fleet, _signer: FileKey) -> tuple[int, list[Any]]:
    return 3, []


def of_another_fleet(fleet: Fleet, signer: FileKey) -> tuple[int, list[Any]]:
    vouched = heldkeys.attester(fleet.name, Fleet("globex").root, at_s=VALID_S[0])
    return 2, [["tpm2-certify", heldkeys.tpm2(signer, fleet.name, vouched=vouched).encode()]]


LEVELS = {1: in_token, 2: heldkeys.in_tpm, 3: in_chip}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("demanded", range(4))
def test_a_policy_demands_a_level_at_least(level: int, demanded: int) -> None:
    story = Story(held=LEVELS[level], demanded=demanded)
    policy = Policy.parse(story.policy)
    if level >= demanded:
        report = check(story.evidence(), policy, NOW_S)
        assert {record.custody for record in report.records} == {level}
        assert all(said.recomputed for one in report.party_sets for said in one.said)
        return
    with pytest.raises(Unverified, match=f"held in {CUSTODIES[level]}") as refused:
        check(story.evidence(), policy, NOW_S)
    assert refused.value.reason == "bad-policy"


def test_a_policy_that_says_nothing_refuses_keys_in_files() -> None:
    def silent(story: Story) -> Policy:
        line = 'devices.custody = "software"\n'
        assert line in story.policy
        return Policy.parse(story.policy.replace(line, ""))

    with pytest.raises(Unverified, match="held in software, the policy needs pkcs11"):
        check(Story().evidence(), silent(Story()), NOW_S)
    held = Story(held=in_token)
    check(held.evidence(), silent(held), NOW_S)


@pytest.mark.parametrize(
    ("held", "why"),
    [
        (in_open_chip, "secure-element is claimed and does not count: atecc608-config: the data"),
        (by_word, r"secure-element is claimed and does not count: no evidence \(atecc608-config"),
        (of_another_fleet, "tpm is claimed and does not count: tpm2-certify: "),
    ],
)
def test_what_the_root_says_alone_does_not_count_and_the_refusal_says_why(
    held: Any, why: str
) -> None:
    story = Story(held=held, demanded=1)
    with pytest.raises(Unverified, match=why) as refused:
        check(story.evidence(), Policy.parse(story.policy), NOW_S)
    assert refused.value.message.count("is held in software") == 2  # each device's key
    lax = Story(held=held)
    report = check(lax.evidence(), Policy.parse(lax.policy), NOW_S)
    assert {record.custody for record in report.records} == {0}
    assert any("custody" in what for what, _ in report.not_checked)


def test_findings_have_the_counted_level() -> None:
    for held, level in ((in_chip, 3), (in_open_chip, 0), (by_word, 0)):
        story = Story(held=held)
        report = check(story.evidence(), Policy.parse(story.policy), NOW_S)
        for one in report.party_sets:
            for said in one.said:
                assert said.recomputed
                assert {row.custody for row in said.verdict.finding.claims} == {level}


class Boasting(Story):
    """Its validators count what the root says."""

    def finding(self, claims: list[KnownClaim], silence: list[TimeEvidence]) -> Finding:
        return super().finding([one._replace(custody=3) for one in claims], silence)


def test_a_verdict_that_counts_more_than_evidence_shows_is_not_recomputed() -> None:
    story = Boasting(held=by_word)
    policy = Policy.parse(story.policy)
    report = check_evidence(story.evidence(), policy)
    said = [one for party_set in report.party_sets for one in party_set.said]
    assert said
    assert {row.custody for one in said for row in one.verdict.finding.claims} == {3}
    assert not any(one.recomputed for one in said)
    assert any("held in secure-element" in why for _, why in report.not_checked)
    with pytest.raises(Unverified, match="0 of the 2"):
        check(story.evidence(), policy, NOW_S)


def run(folder: Path, story: Story, *more: str) -> subprocess.CompletedProcess[str]:
    (folder / "x.tally").write_bytes(story.evidence().encode())
    (folder / "policy.toml").write_text(story.policy)
    code = "from tallystick.tools.main import main; main()"
    command = [sys.executable, "-c", code, "verify", "x.tally", "--policy", "policy.toml", *more]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_command_prints_each_key_and_its_evidence(tmp_path: Path) -> None:
    done = run(tmp_path, Story(held=in_chip, demanded=3))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": secure-element, active") == 2
    assert heldkeys.SERIAL.hex() in done.stdout
    assert "not proven: that a genuine Microchip chip made these bytes" in done.stdout
    refused = run(tmp_path, Story(held=in_open_chip, demanded=3))
    assert refused.returncode == 1
    assert "not checked: atecc608-config: the data zone is not locked" in refused.stdout
    said = json.loads(run(tmp_path, Story(held=heldkeys.in_tpm), "--json").stdout)
    keys = [one for one in said["keys"] if one["subject"] == "device"]
    assert [one["custody"] for one in keys] == ["tpm", "tpm"]
    assert "the fleet root vouches" in keys[0]["shown"][0]
    word = json.loads(run(tmp_path, Story(held=by_word), "--json").stdout)
    (key, _) = [one for one in word["keys"] if one["subject"] == "device"]
    assert (key["custody"], key["claimed"]) == ("software", "secure-element")
