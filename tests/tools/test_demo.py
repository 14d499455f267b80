"""`tally demo` from outside: what a newcomer sees, and what is left when they press Ctrl-C."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.site import until
from tallystick.tools.demo import judge, play, scene
from tallystick.tools.main import cli
from tallystick.validator import config

COMMAND = [sys.executable, "-c", "from tallystick.tools.main import main; main()", "demo"]
# On a machine of its own; beside other tests it may take a few times as long.
SECONDS_MAX = 60
BUSY = 5


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    temporary = folder / "tmp"
    temporary.mkdir()
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.timeout(BUSY * SECONDS_MAX + 60)
def test_the_demo_ends_as_the_script_expects(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = start(tmp_path, "--json")
    out, err = process.communicate(timeout=BUSY * SECONDS_MAX)
    assert process.returncode == 0, err
    result = json.loads(out.splitlines()[-1])
    assert result["as_expected"]
    assert result["seconds"] < BUSY * SECONDS_MAX
    # What it takes of a processor does not depend on who else is there.
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SECONDS_MAX
    assert result["validators"] == [
        {"name": name, "conflicting": 1, "matched": 38, "one_sided": 1}
        for name in ("acme", "borealis", "assure")
    ]
    assert "with one byte changed: refused" in err
    assert "logs cosigned: acme by assure/validator, borealis/validator; borealis by" in err
    assert "Traceback" not in err
    assert "secret" not in err.lower()
    until(lambda: group_is_gone(process.pid), "the end of all")
    assert list((tmp_path / "tmp").iterdir()) == []

    folder = tmp_path / "tally-demo"
    matched = [str(folder / "order-4740.tally"), "--policy", str(folder / "policy.toml")]
    shown = CliRunner().invoke(cli, ["verify", *matched])
    assert shown.exit_code == 0, shown.output
    # The policy asks for `matched`: the evidence of a conflict is sound and not enough for it.
    conflict = [str(folder / "order-4713.tally"), "--policy", str(folder / "policy.toml")]
    assert CliRunner().invoke(cli, ["verify", *conflict]).exit_code == 1


def test_the_validators_follow_one_another(tmp_path: Path) -> None:
    made = scene.build(tmp_path, "mqtt://127.0.0.1:1883")
    urls = {site.name: site.url for site in made.validators}
    for site in made.validators:
        peers = {peer.name: peer.url for peer in config.load(site.config).peers}
        assert peers == {name: url for name, url in urls.items() if name != site.name}
        # With their note keys, so that they cosign one another's logs.
        logs = {peer.note_key.name for peer in config.load(site.config).peers if peer.note_key}
        assert logs == {f"{name}/validator" for name in peers}


@pytest.mark.parametrize("after_s", [0.0, 0.5, 3.0])
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, after_s: float) -> None:
    process = start(tmp_path)
    # It has begun; before that Python itself says what it imported.
    until(lambda: any((tmp_path / "tmp").iterdir()), "its folder")
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "interrupted"
    until(lambda: group_is_gone(process.pid), "the end of all")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_judgement_is_right_only_when_every_validator_says_what_is_expected() -> None:
    handovers = play.script()
    right = {handover.number: handover.expected for handover in handovers}
    judgement = judge.Judgement(handovers, {"a": dict(right), "b": dict(right)}, {"a"})
    assert not judgement.right, "b says only that it was unheard"
    judgement.silent.add("b")
    assert judgement.right
    judgement.states["b"][play.WRONG_PLACE] = "matched"
    assert not judgement.right
    assert judgement.agreeing("b") == play.HANDOVERS - 1
    del judgement.states["b"][play.WRONG_PLACE]
    assert not judgement.right
    assert not judge.Judgement(handovers, {}).right


def test_the_script_has_three_lies_among_forty() -> None:
    handovers = play.script()
    assert len(handovers) == 40
    assert [h.number for h in handovers if h.lie] == [13, 21, 40]
    # The silent party's own gateway must be on; the last receiver's company switches its own off.
    assert handovers[20].receiver.startswith("acme")
    assert handovers[39].receiver.startswith("borealis")
