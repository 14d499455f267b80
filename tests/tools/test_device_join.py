"""`tally device join` on a Linux robot: the whole way, resumed, and what it never shows."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from support.authority import Authority
from support.joinfleet import JoinFleet, door_of
from support.site import until
from support.tokens import PIN
from tallystick.evidence.keys import ES256, device_text
from tallystick.gateway import limits
from tallystick.gateway.service import Gateway
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder
from tallystick.tools.main import cli
from tallystick.tools.mosquitto import Mosquitto
from tallystick.tools.softhsm import SoftHsm

WAIT_S = 90.0


@pytest.fixture
def site(tmp_path: Path, mosquitto: Mosquitto) -> JoinFleet:
    return JoinFleet(tmp_path, f"mqtt://127.0.0.1:{mosquitto.port}")


@pytest.fixture
def gateway(site: JoinFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """Its door speaks TLS."""
    monkeypatch.setattr(limits, "JOIN_RETRY_S", 0)
    cert, key = Authority(tmp_path / "tls").server()
    with (site.gateway / "gateway.toml").open("a") as toml:
        toml.write(f'cert = "{cert}"\nkey = "{key}"\n')
    with site.running() as running:
        yield running


def tally(*words: object, given: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["device", "join", *map(str, words)], input=given)


def code_for(site: JoinFleet, tmp_path: Path, where: str) -> Path:
    """A code in a file of its own."""
    ca = ("--ca", str(tmp_path / "tls" / "ca.pem"))
    said = site.tally("invite", str(site.folder), "--gateway", where, *ca, "--json")
    path = tmp_path / "code"
    path.write_text(json.loads(said.stdout)["codes"][0]["code"] + "\n")
    path.chmod(0o600)
    return path


def let_in(site: JoinFleet, tmp_path: Path, where: str, broker: str) -> None:
    robots = tmp_path / "robots.csv"
    robots.write_text("serial,label\n0001,robot-1\n")
    site.tally(
        *("approve", str(site.folder), "--gateway", where, "--from", str(robots), "--yes"),
        *("--ca", str(tmp_path / "tls" / "ca.pem"), "--broker", broker),
    )


@pytest.mark.parametrize("kind", ["file", "chosen", "token"])
def test_the_whole_way_over_tls(
    site: JoinFleet,
    gateway: Gateway,
    tmp_path: Path,
    mosquitto: Mosquitto,
    softhsm: SoftHsm,
    kind: str,
) -> None:
    """Asked, not let in yet, killed, called again, let in; then its records get a receipt."""
    where = door_of(gateway).replace("127.0.0.1", "localhost")
    code = code_for(site, tmp_path, where)
    folder = tmp_path / "robot"
    key, pin_file = "file:key", tmp_path / "pin"
    if kind == "chosen":
        # A key that is there already, of another kind.
        Signer.create(f"file:{tmp_path / 'p256.key'}", ES256).close()
        key = f"file:{tmp_path / 'p256.key'}"
    elif kind == "token":
        # Made in the token, which then holds it.
        softhsm.make("robot", PIN)
        key = softhsm.uri("robot", "robot-1")
        pin_file.write_text(PIN)
        pin_file.chmod(0o600)
    options = ["--folder", folder, "--ca", tmp_path / "tls" / "ca.pem", "--serial", "0001"]
    options += ["--key", key, "--code-file", code]
    options += ["--pin-file", pin_file] if kind == "token" else []
    first = tally(where, *options, "--wait", "0")
    assert first.exit_code == 1 and "call `tally device join` again" in str(first.exception)
    program = "from tallystick.tools.main import main; main()"
    argv = [sys.executable, "-c", program, "device", "join", "--folder", str(folder)]
    killed = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    assert killed.stderr is not None
    until(lambda: "waits to be let in" in killed.stderr.readline(), "the queue")  # type: ignore[union-attr]
    killed.kill()
    killed.communicate()
    let_in(site, tmp_path, where, f"mqtt://127.0.0.1:{mosquitto.port}")
    done = tally("--folder", folder, "--json")
    assert done.exit_code == 0, done.output
    (member,) = [one for one in site.opened().members() if one.kind == "device"]
    assert json.loads(done.stdout)["device"] == member.id_text
    assert member.identity.enrolment.custody == (kind == "token")
    assert PIN not in first.output + done.output + (folder / "tallystick.json").read_text()
    assert code.read_text().strip() not in first.output + done.output + str(first.exception)
    assert not (folder / "join.json").exists()
    recorder = Recorder.open(str(folder / "tallystick.json"))
    try:
        assert device_text(recorder.device) == member.id_text
        for n in range(70):
            recorder.decision("grasp-net@1", {"n": n}, {}, "grip")
        until(lambda: recorder.health.custody > 0, "a custody receipt", WAIT_S)
    finally:
        recorder.close()
    again = tally(where, *options)
    assert again.exit_code == 0 and "it has joined before" in again.output


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TALLY_JOIN_CODE", raising=False)
    folder = ["--folder", tmp_path / "robot"]
    none = tally(*folder)
    assert none.exit_code == 2 and "nothing waits in" in none.output
    no_code = tally("http://127.0.0.1:1", *folder)
    assert no_code.exit_code == 2 and "TALLY_JOIN_CODE" in no_code.output
    canary = "abcd-efgh-canary-of-a-code"
    wrong = tally("http://127.0.0.1:1", *folder, "--code", canary)
    assert wrong.exit_code == 1 and "mistyped" in str(wrong.exception)
    assert canary not in wrong.output + str(wrong.exception)
    assert not (tmp_path / "robot" / "join.json").exists()
    open_file = tmp_path / "code"
    open_file.write_text(canary)
    open_file.chmod(0o644)
    opened = tally("http://127.0.0.1:1", *folder, "--code-file", open_file)
    assert opened.exit_code == 1 and "chmod 600" in str(opened.exception)
