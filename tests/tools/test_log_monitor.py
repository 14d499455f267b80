"""`tally log monitor`: each log must extend what was seen of it; two histories are proven."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from support.devices import Fleet
from support.forgedlog import START_MS, Forger
from tallystick.evidence import evidencefile, misbehaviour
from tallystick.evidence.entry import TimeEntry
from tallystick.evidence.headproofs import Equivocation
from tallystick.tools import log_state
from tallystick.tools.log import log

TALLY = [sys.executable, "-c", "from tallystick.tools.main import main; main()"]


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    return Forger(tmp_path / "forger")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(log, [str(one) for one in arguments])


def followed(state: Path, *where: str | Path) -> tuple[int, dict[str, Any]]:
    result = run("monitor", *where, "--state", state, "--once", "--json", "--proofs", state.parent)
    return result.exit_code, json.loads(result.output)


def test_a_log_that_grows_is_folded_on(forger: Forger, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    forger.times(700)
    path = forger.write("log", 300)
    assert followed(state, path)[0] == 0
    forger.write("log", 600)
    code, said = followed(state, path)
    assert code == 0
    assert said["logs"][str(path)] == "size 600, 300 new entries"
    # Shown again as it was: older, and the same log.
    (path / "checkpoint").write_text((forger.write("old", 300) / "checkpoint").read_text())
    code, said = followed(state, path)
    assert (code, said["found"]) == (0, [])
    assert "older than 600" in said["logs"][str(path)]


@pytest.mark.parametrize(("first", "second"), [(300, 300), (300, 600), (600, 300), (257, 300)])
def test_two_histories_are_proven(forger: Forger, tmp_path: Path, first: int, second: int) -> None:
    state = tmp_path / "state.json"
    forger.times(700)
    path = forger.write("log", first)
    assert followed(state, path)[0] == 0
    forger.entries[256] = TimeEntry(START_MS + 254).encode()
    shutil.rmtree(path)
    forger.write("log", second)
    if second < first:
        # What lies between must be shown, too, or nothing is proven; a liar shows nothing.
        code, said = followed(state, path)
        assert (code, said["found"]) == (3, [])
        return
    code, said = followed(state, path)
    assert code == 1
    assert [one["kind"] for one in said["found"]] == ["two-histories"]
    (file,) = state.parent.glob("two-histories-*.tally")
    proofs = list(evidencefile.parse(file.read_bytes()).proofs)
    assert len(proofs) == 1
    shown = misbehaviour.parse(proofs[0])
    assert isinstance(shown, Equivocation)
    assert (shown.first.size, shown.second.size) == (first, second)
    for one in (shown.first, shown.second):
        one.verify(forger.key)
    # It is not forgotten when the log shows the old history again.
    forger.entries[256] = TimeEntry(START_MS + 255 + 0).encode()
    assert followed(state, path)[0] == 1


def test_an_old_head_of_another_history_is_proven_by_the_tiles_between(
    forger: Forger, tmp_path: Path
) -> None:
    """A liar that shows one reader's tiles with another reader's older checkpoint."""
    state = tmp_path / "state.json"
    forger.times(700)
    path = forger.write("log", 600)
    assert followed(state, path)[0] == 0
    forger.entries[200] = TimeEntry(START_MS + 199).encode() + b""
    forger.entries[200:202] = [forger.entries[201], forger.entries[201]]
    (path / "checkpoint").write_text((forger.write("other", 300) / "checkpoint").read_text())
    code, said = followed(state, path)
    assert code == 1
    assert "two roots at size 300, of which one is inside its size 600" in said["found"][0]["says"]


def test_tiles_that_hide_another_history_are_not_believed(forger: Forger, tmp_path: Path) -> None:
    """With an older head of another history come tiles that fit it, and not what was read."""
    state = tmp_path / "state.json"
    forger.times(700)
    path = forger.write("log", 600)
    assert followed(state, path)[0] == 0
    forger.entries[200] = forger.entries[201]
    other = forger.write("other", 300)
    for name in ("checkpoint", "tile/0/000"):
        shutil.copy(other / name, path / name)
    above = path / "tile/1/000.p/2"
    above.write_bytes((other / "tile/1/000.p/1").read_bytes() + above.read_bytes()[32:])
    code, said = followed(state, path)
    assert (code, said["found"]) == (3, [])
    assert "bad-consistency-proof" in said["failed"][str(path)]


def test_a_checkpoint_that_the_log_did_not_sign_is_not_followed(
    forger: Forger, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    forger.times(20)
    path = forger.write("log", 10)
    assert followed(state, path)[0] == 0
    head = forger.write("log", 20) / "checkpoint"
    signed = head.read_text().splitlines()
    head.write_text("\n".join([*signed[:4], signed[4][:-6] + "AAAA==", ""]))
    code, said = followed(state, path)
    assert (code, said["found"], list(said["failed"])) == (3, [], [str(path)])
    assert log_state.load(state).logs[str(path)].note.size == 10


def test_two_addresses_of_one_log_must_show_one_tree(forger: Forger, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    forger.times(20)
    one = forger.write("one")
    forger.entries[5] = forger.entries[6]
    other = forger.write("two")
    code, said = followed(state, one, other)
    assert code == 1
    assert said["found"][0]["kind"] == "two-histories"


def test_a_log_that_lies_of_a_device_is_found_and_the_device_is_not(
    forger: Forger, tmp_path: Path
) -> None:
    """Read in two runs: the keys and heads that the state keeps are what judges."""
    state = tmp_path / "state.json"
    device = Fleet("acme").device("arm-1")
    head = device.record(3).checkpoint
    forged = head.replace(device.root, bytes(32))
    liar = Forger(tmp_path / "liar", "liar.example/log")
    forger.entries += [device.credential[0], head]
    liar.entries.append(forged)
    where = forger.write("log"), liar.write("log", 1)
    code, said = followed(state, *where)
    assert (code, said["found"]) == (0, [])
    liar.write("log")
    for _ in range(2):
        code, said = followed(state, *where)
        assert code == 1
        ((kind, logs),) = [(one["kind"], one["logs"]) for one in said["found"]]
        assert (kind, logs) == ("head-not-signed", [str(where[1])])
    # The log with the enrolment goes on: what was read of it before still counts.
    forger.times(1)
    forger.write("log")
    # A clone of its key wrote another history to the third log: this the device did sign.
    third = Forger(tmp_path / "third", "third.example/log")
    clone = Fleet("acme").device("arm-1")
    clone.decision("other")
    third.entries.append(clone.record(2).checkpoint)
    assert clone.size == device.size
    _, said = followed(state, *where, third.write("log"))
    assert [one["kind"] for one in said["found"]] == ["head-not-signed", "device-fork"]
    assert said["found"][1]["logs"] == sorted([str(where[0]), str(tmp_path / "third/log")])


@pytest.mark.parametrize("field", ["key", "device"])
def test_a_state_that_binds_another_key_to_a_device_is_refused(
    forger: Forger, tmp_path: Path, field: str
) -> None:
    state = tmp_path / "state.json"
    devices = [Fleet("acme").device(name) for name in ("arm-1", "arm-2")]
    forger.entries += [one.credential[0] for one in devices]
    path = forger.write("log")
    assert followed(state, path)[0] == 0
    raw = json.loads(state.read_text())
    one, other = raw["logs"][str(path)]["keys"]
    at = ("device", "key").index(field)
    one[at] = other[at]
    state.write_text(json.dumps(raw))
    result = run("monitor", path, "--state", state, "--once")
    assert result.exit_code == 2
    assert "no state of a monitor" in result.output


def test_a_state_that_was_changed_is_refused(forger: Forger, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    forger.times(20)
    path = forger.write("log")
    followed(state, path)
    raw = json.loads(state.read_text())
    raw["logs"][str(path)]["edge"][0] = "A" * 43
    state.write_text(json.dumps(raw))
    result = run("monitor", path, "--state", state, "--once")
    assert result.exit_code == 2
    assert "no state of a monitor" in result.output


def test_a_log_that_is_away_is_named_and_the_others_followed(
    forger: Forger, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    forger.times(3)
    code, said = followed(state, "http://127.0.0.1:1", forger.write("log"))
    assert code == 3
    assert list(said["failed"]) == ["http://127.0.0.1:1"]
    assert len(said["logs"]) == 1


def test_it_goes_on_until_interrupted_and_keeps_what_it_saw(forger: Forger, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    forger.times(300)
    path = forger.write("log", 100)
    options = ["--state", str(state), "--every", "0.1", "--json"]
    command = [*TALLY, "log", "monitor", str(path), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert "size 100, 100 new" in running.stdout.readline()
        forger.write("log", 250)
        # A round may have begun while the files were written; the next one sees them whole.
        assert any("size 250, 150 new" in running.stdout.readline() for _ in range(600))
        running.send_signal(signal.SIGINT)
        running.stdout.read()
    assert running.returncode == 130
    assert log_state.load(state).logs[str(path)].note.size == 250
