"""The units for systemd, as systemd reads them; and the program that one of them runs."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recorder.test_faults import records_of
from support.site import until
from support.station import Fleet
from tallystick.evidence.decision import Decision
from tallystick.evidence.errors import TallyError
from tallystick.recorder.files import Files

TOP = Path(__file__).parents[2]
UNITS = sorted((TOP / "firmware/systemd").glob("*.service"))
PROGRAM = TOP / "firmware/examples/linux_robot.py"
# Of 10: what systemd-analyze calls exposure. A service without any of this has 9.6.
EXPOSURE_MAX = 2.0
WAIT_S = 60


def commands(unit: Path) -> list[list[str]]:
    found = re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
    return [line.split() for line in found]


def analyze(*args: str) -> str:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed (scripts/system-packages)")
    # Without root, and without a systemd that runs.
    done = subprocess.run(
        [tool, *args], capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_one_that_systemd_takes(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text()
    for command, *_ in commands(unit):
        # This machine has no /opt/tallystick.
        text = text.replace(command, "/bin/true")
    (tmp_path / unit.name).write_text(text)
    assert analyze("verify", "--man=no", str(tmp_path / unit.name)) == ""
    said = analyze("security", "--offline=yes", "--no-pager", str(tmp_path / unit.name))
    exposure = re.search(r"exposure level for \S+: ([0-9.]+)", said)
    assert exposure is not None and float(exposure[1]) <= EXPOSURE_MAX


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_runs_as_nobody_s_root(unit: Path) -> None:
    text = unit.read_text()
    assert re.search(r"^User=(?!root)\S+$", text, re.MULTILINE)
    assert not re.search(r"^(PermissionsStartOnly|ExecStart=[+!])", text, re.MULTILINE)


def test_the_service_s_command_has_these_options() -> None:
    (command,) = commands(TOP / "firmware/systemd/tally-recorder.service")
    assert command[1:3] == ["recorder", "serve"]
    # Generated from the commands themselves.
    shown = (TOP / "docs/commands.md").read_text().split("## `tally recorder serve`")[1]
    shown = shown.split("\n## ")[0]
    assert all(option in shown for option in command if option.startswith("--"))


def test_both_pages_name_the_units() -> None:
    page = (TOP / "docs/recorder.md").read_text()
    assert all(f"firmware/systemd/{unit.name}" in page for unit in UNITS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_program_records_until_it_is_stopped(tmp_path: Path, number: signal.Signals) -> None:
    config = Fleet(tmp_path / "fleet").device("one")
    (tmp_path / "tallystick.json").write_text(json.dumps(config))
    (tmp_path / "hot").write_text("71000\n")
    argv = [sys.executable, str(PROGRAM), str(tmp_path / "hot")]
    run = subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    journal = tmp_path / "fleet/one/journal"

    def decided() -> list[tuple[int | None, str]]:
        try:
            records = records_of(Files(str(journal)))
        except TallyError:
            return []  # it is being written
        made = [one for one in records if isinstance(one, Decision)]
        return list(
            dict.fromkeys((one.inputs["temperature_mc"], one.output["action"]) for one in made)
        )

    try:
        until(lambda: journal.is_dir() and len(decided()) == 1, "the first")
        (tmp_path / "cold").write_text("41000\n")
        (tmp_path / "cold").rename(tmp_path / "hot")
        until(lambda: len(decided()) == 2, "the second")
        (tmp_path / "hot").unlink()
        until(lambda: len(decided()) == 3, "the third")
        run.send_signal(number)
        said, _ = run.communicate(timeout=WAIT_S)
    finally:
        run.kill()
    assert run.returncode == 0 and said.endswith("records, 0 dropped\n")
    assert decided() == [(71000, "crawl"), (41000, "cruise"), (None, "crawl")]
