"""`tally profile`: what people see of profiles and their examples."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tallystick.evidence.keys import b64u
from tallystick.tools.main import cli
from tallystick.verify import profiles


def tally(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["profile", *map(str, words)])


@pytest.fixture
def dock(tmp_path: Path) -> Path:
    path = tmp_path / "dock.toml"
    path.write_text(profiles.text("handover"))
    return path


def test_list_names_every_shipped_profile() -> None:
    done = tally("list", "--json")
    assert done.exit_code == 0
    rows = json.loads(done.stdout)["profiles"]
    assert [row["name"] for row in rows] == [f"{name}@1" for name in profiles.NAMES]
    for row in rows:
        assert row["digest"] in tally("list").stdout


def test_show_prints_every_tolerance(dock: Path) -> None:
    for which in ("handover", dock):
        done = tally("show", which)
        assert done.exit_code == 0
        assert b64u(profiles.load("handover").digest) in done.stdout
        assert "same-place (agree): " in done.stdout and "within 0.25" in done.stdout
        assert "position_m: numbers in m" in done.stdout
        assert "speed_m_s: number in m/s (may be left out)" in done.stdout
    assert tally("show", "handover", "--toml").stdout == profiles.text("handover")
    described = json.loads(tally("show", "joint-lift", "--json").stdout)
    assert described["roles"] == {"lifter": {"min": 2, "max": 8}}
    assert described["claims"]["lifter.lifted"]["force_n"]["unit"] == "N"


def test_check_names_the_line(dock: Path) -> None:
    done = tally("check", dock)
    assert done.exit_code == 0 and "handover@1 is a profile: 2 roles, 2 checks" in done.stdout
    dock.write_text(profiles.text("handover").replace('"0.25"', '"a lot"'))
    done = tally("check", dock)
    assert done.exit_code == 1
    assert "line 35" in str(done.exception)


def test_examples_that_are_as_expected_end_with_0(dock: Path) -> None:
    for name in profiles.NAMES:
        done = tally("test", name)
        assert done.exit_code == 0, done.stdout
        assert "not as expected" not in done.stdout
    dock.with_name("dock.examples.toml").write_text(profiles.examples("handover"))
    assert tally("test", dock).exit_code == 0


def test_a_wrong_tolerance_shows_in_the_examples(dock: Path) -> None:
    dock.write_text(profiles.text("handover").replace('"0.25"', '"0.3"'))
    examples = dock.with_name("other.toml")
    examples.write_text(profiles.examples("handover"))
    done = tally("test", dock, "--examples", examples)
    assert done.exit_code == 1
    assert "5 examples, 1 not as expected" in done.stdout
    assert "expected otherwise: the state is matched, not conflicting" in done.stdout
    found = json.loads(tally("test", dock, "--examples", examples, "--json").stdout)
    assert (found["ok"], found["failed"]) == (4, 1)
    assert found["examples"][1]["faults"][0] == "the state is matched, not conflicting"


def test_what_is_not_there_is_one_sentence(dock: Path) -> None:
    done = tally("test", dock)
    assert done.exit_code == 1 and "dock.examples.toml is not there" in done.output
    dock.with_name("dock.examples.toml").write_text("examples = []\n")
    done = tally("test", dock)
    assert done.exit_code == 1 and "there is no example" in done.stdout
    done = tally("show", "hand-over")
    assert (
        done.exit_code == 2
        and "no profile that ships with tally; these do: handover" in done.output
    )
    dock.write_bytes(b"\xff\xfe")
    done = tally("check", dock)
    assert done.exit_code == 1 and "no text in UTF-8" in str(done.exception)
