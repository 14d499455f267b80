"""`tally gateway`: check, status and run, as a person or a script uses them."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from support.devices import Fleet
from support.notary import Notary
from support.site import Radio, Site, until
from tallystick.evidence.errors import CouldNotCheck
from tallystick.gateway.store import Store
from tallystick.tools.gateway import gateway
from tallystick.tools.main import main
from tallystick.tools.mosquitto import Mosquitto

ACME = Fleet("acme")


def tally(*arguments: str) -> Result:
    return CliRunner().invoke(gateway, arguments)


@pytest.mark.parametrize("command", [[], ["run"], ["check"], ["status"]])
def test_help_has_examples(command: list[str]) -> None:
    shown = tally(*command, "--help")
    assert shown.exit_code == 0
    assert "Example" in shown.output


def test_check_says_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    site = Site(
        tmp_path,
        ACME,
        1,  # nobody listens there
        validators=Notary(tmp_path / "notary", ACME).toml,
    )
    shown = tally("check", "--config", str(site.path), "--json")
    assert shown.exit_code == 1
    found = json.loads(shown.output)
    assert not found["good"]
    bad = {row["check"]: row["what_to_do"] for row in found["checks"] if not row["good"]}
    assert set(bad) == {"broker", "validator notary"}
    assert all(bad.values())
    assert not (tmp_path / "gateway.sqlite").exists()  # a check changes nothing
    assert "broker" in tally("check", "--config", str(site.path)).output


def test_check_is_content_when_everything_answers(tmp_path: Path, mosquitto: Mosquitto) -> None:
    notary = Notary(tmp_path / "notary", ACME).start()
    try:
        site = Site(tmp_path / "gw", ACME, mosquitto.port, validators=notary.toml)
        site.enrol(ACME.device())
        shown = tally("check", "--config", str(site.path), "--json")
        assert shown.exit_code == 0, shown.output
        assert json.loads(shown.output)["good"]
    finally:
        notary.stop()


def test_a_bad_file_is_one_sentence(tmp_path: Path) -> None:
    site = Site(tmp_path, ACME, 1)
    site.path.write_text(site.path.read_text() + "\nsurprise = 1\n")
    folders = os.pathsep.join(["firmware", "gateway", "hw", "validator", "tools"])
    ended = subprocess.run(
        [sys.executable, "-c", "from tallystick.tools.main import main; main()",
         "gateway", "check", "--config", str(site.path)],
        capture_output=True, text=True, check=False, timeout=60,
        env=os.environ | {"PYTHONPATH": folders},
    )  # fmt: skip
    assert ended.returncode == 1
    assert "surprise" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_status_without_a_store(tmp_path: Path) -> None:
    site = Site(tmp_path, ACME, 1)
    shown = tally("status", "--config", str(site.path))
    assert shown.exit_code == 1
    assert "has the gateway run" in str(shown.exception)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_until_a_signal(tmp_path: Path, mosquitto: Mosquitto, number: signal.Signals) -> None:
    site = Site(tmp_path, ACME, mosquitto.port, name=f"cli-{number}")
    site.with_prefix(f"cli-{number}")
    robot = ACME.device()
    robot.record(3)
    folders = os.pathsep.join(["firmware", "gateway", "hw", "validator", "tools"])
    process = subprocess.Popen(
        [sys.executable, "-c", "from tallystick.tools.main import main; main()",
         "gateway", "run", "--config", str(site.path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": folders},
    )  # fmt: skip
    try:
        with Radio(mosquitto.port, robot, f"cli-{number}") as radio:

            def stored() -> bool:
                radio.up(robot.hello(), robot.segment())
                try:
                    return bool(site.status()["segments"] == 1)
                except CouldNotCheck:
                    return False  # the store is not made yet

            until(stored, "the segment")
    finally:
        process.send_signal(number)
        _, said = process.communicate(timeout=90)
    assert process.returncode == 0
    lines = [json.loads(line) for line in said.splitlines()]
    assert [line["event"] for line in lines if line["event"] in {"started", "stopped"}] == [
        "started",
        "stopped",
    ]
    shown = tally("status", "--config", str(site.path))
    assert shown.exit_code == 0, shown.output
    assert "custody receipts" in shown.output
    secret = (tmp_path / "key").read_bytes()[-60:-12]
    assert secret.hex() not in said
    assert json.loads(tally("status", "--config", str(site.path), "--json").output)["records"] == 4


@pytest.mark.parametrize(
    "command", [["gateway", "status"], ["gateway", "quarantine", "list"], ["hold", "--list"]]
)
def test_a_store_that_is_broken_inside_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
) -> None:
    site = Site(tmp_path, ACME, 1)
    Store(site.config.store).close()
    # All but the first page, which says what it is and where its tables are.
    data = site.config.store.read_bytes()
    connection = sqlite3.connect(site.config.store)
    pages = connection.execute("SELECT rootpage FROM sqlite_master WHERE rootpage").fetchall()
    connection.close()
    for (page,) in pages:
        at = (page - 1) * 4096
        data = data[:at] + b"\xff" * 4096 + data[at + 4096 :]
    site.config.store.write_bytes(data)
    monkeypatch.setattr(sys, "argv", ["tally", *command, "--config", str(site.path)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: the store cannot be read or written: "), said
    assert said.count("\n") == 1
