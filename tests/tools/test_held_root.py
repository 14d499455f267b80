"""A fleet whose root key, and whose members' keys, are on tokens, in TPMs or sealed in files."""

import json
import sys
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from support.keystations import InTpm
from support.site import until
from support.tokens import PIN, pin, refusal
from tallystick.evidence import keycustody
from tallystick.evidence.enrolment import CUSTODY_PKCS11
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.keys import EDDSA, ES256
from tallystick.evidence.note import NoteKey
from tallystick.gateway import config as gateway_config
from tallystick.gateway import service as gateway_service
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.main import cli
from tallystick.tools.mosquitto import Mosquitto
from tallystick.tools.running import Service, Services
from tallystick.tools.softhsm import SoftHsm

ROOT_PIN = "canary-root-4711"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TALLY_PIN", "TALLY_ROOT_PIN", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def token(softhsm: SoftHsm) -> SoftHsm:
    softhsm.make("office", ROOT_PIN)
    softhsm.make("site", PIN)
    return softhsm


def private(path: Path, text: str) -> Path:
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


def tally(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["fleet", *map(str, arguments)])


def good(*arguments: object) -> str:
    result = tally(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    assert PIN not in result.output and ROOT_PIN not in result.output
    return result.output


def failure(*arguments: object) -> TallyError:
    error = tally(*arguments).exception
    assert isinstance(error, TallyError), error
    assert PIN not in str(error) and ROOT_PIN not in str(error)
    return error


@pytest.mark.parametrize("alg", ["p256", "ed25519", None])
def test_a_root_on_a_token_enrols_and_its_pin_is_kept_apart(
    token: SoftHsm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alg: str | None
) -> None:
    folder = tmp_path / "acme"
    uri = token.uri("office", "root")
    file = private(tmp_path / "root.pin", ROOT_PIN)
    named = () if alg is None else ("--alg", alg)
    said = good("init", folder, "--name", "acme", "--key", uri, "--pin-file", file, *named)
    assert "token=office" in said
    assert not (folder / "root.key").exists()
    settings = msgspec.toml.decode((folder / "fleet.toml").read_text())
    assert settings == {"name": "acme", "key": uri, "key_pin_file": str(file)}
    good("enroll", folder, "robot-1")
    fleet = Fleet.open(folder)
    assert fleet.key.alg == (EDDSA if alg == "ed25519" else ES256)
    assert fleet.member("device", "robot-1").identity.iss == "acme"
    # Looking needs no token and no PIN.
    token.pull()
    assert json.loads(good("list", folder, "--json"))["members"][0]["label"] == "robot-1"
    assert "no such token" in str(failure("enroll", folder, "robot-2"))
    token.put_back()
    file.unlink()
    assert failure("enroll", folder, "robot-2").reason == "no-pin"
    (folder / "fleet.toml").write_text(f'name = "acme"\nkey = "{uri}"\n')
    assert failure("enroll", folder, "robot-2").reason == "no-pin"
    monkeypatch.setenv("TALLY_ROOT_PIN", "wrong-one")
    assert failure("enroll", folder, "robot-2").reason == "wrong-pin"
    monkeypatch.setenv("TALLY_ROOT_PIN", ROOT_PIN)
    good("enroll", folder, "robot-2")


def test_a_root_and_a_gateway_in_a_tpm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mosquitto: Mosquitto
) -> None:
    monkeypatch.chdir(tmp_path)  # where a URI's attester= leads nowhere
    tpm = InTpm(tmp_path / "tpm-station", monkeypatch)
    try:
        folder = tmp_path / "acme"
        file = private(tmp_path / "tpm.pin", PIN)
        uri = tpm.uri()
        good("init", folder, "--name", "acme", "--key", uri, "--pin-file", file)
        assert not (folder / "root.key").exists()
        key = tpm.create(1)
        key.close()
        broker = f"mqtt://127.0.0.1:{mosquitto.port}"
        held = ("--key", tpm.uri(1), "--as-software", "--pin-file", file)
        good("enroll", folder, "gw-1", "--kind", "gateway", "--broker", broker, *held)
        good("enroll", folder, "robot-1", "--broker", broker)
        fleet = Fleet.open(folder)
        assert fleet.key.alg == ES256
        assert fleet.member("gateway", "gw-1").identity.iss == "acme"
        # The gateway signs with it, and the robot, which pins it, takes its receipts.
        gateway = gateway_config.load(folder / "gateways" / "gw-1" / "gateway.toml")
        with Services([Service("gateway", lambda stop: gateway_service.run(gateway, stop))]):
            robot = Recorder.open(str(folder / "devices" / "robot-1" / "tallystick.json"))
            try:
                robot.event("app.ready")
                until(lambda: robot.health.custody > 0, "a receipt by the TPM's key")
            finally:
                robot.close()
        tpm.unplug(key)
        assert failure("enroll", folder, "robot-2").reason == "no-chip"
    finally:
        tpm.close()


def test_the_pin_is_asked_for_on_a_terminal(token: SoftHsm, tmp_path: Path) -> None:
    @click.command()
    def command() -> None:
        sys.stdin.isatty = lambda: True  # type: ignore[method-assign]
        Fleet.init(tmp_path / "acme", "acme", uri=token.uri("office", "root")).close()

    result = CliRunner().invoke(command, input=ROOT_PIN + "\n")
    assert result.exit_code == 0, result.exception
    assert "the fleet root" in result.output and ROOT_PIN not in result.output


def test_a_root_that_is_there_already_is_taken_and_never_made_over(
    token: SoftHsm, tmp_path: Path
) -> None:
    uri = token.uri("office", "root")
    file = private(tmp_path / "root.pin", ROOT_PIN)
    made = Signer.create(uri, ES256, lambda _: ROOT_PIN)
    made.close()
    given = ("--name", "acme", "--key", uri, "--pin-file", file)
    assert failure("init", tmp_path / "a", *given).reason == "key-exists"
    assert failure("init", tmp_path / "b", *given, "--existing", "--alg", "ed25519").reason == (
        "bad-value"
    )
    good("init", tmp_path / "c", *given, "--existing")
    assert Fleet.open(tmp_path / "c").key == made.public_key()


def test_another_key_than_the_pinned_root_signs_nothing(token: SoftHsm, tmp_path: Path) -> None:
    file = private(tmp_path / "root.pin", ROOT_PIN)
    fleet = Fleet.init(tmp_path / "acme", "acme", uri=token.uri("office", "root"), pin_file=file)
    fleet.close()
    Signer.create(token.uri("office", "other"), None, lambda _: ROOT_PIN).close()
    path = tmp_path / "acme" / "fleet.toml"
    path.write_text(path.read_text().replace("object=root", "object=other"))
    fleet = Fleet.open(tmp_path / "acme")
    with pytest.raises(Unverified, match=r"root\.pub") as raised:
        fleet.enrol("device", "robot-1")
    assert raised.value.reason == "wrong-key"
    assert not list((tmp_path / "acme" / "devices").iterdir())


def test_a_sealed_root_file_needs_its_passphrase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLY_ROOT_PIN", ROOT_PIN)
    good("init", tmp_path / "acme", "--name", "acme", "--seal")
    good("enroll", tmp_path / "acme", "robot-1")
    monkeypatch.setenv("TALLY_ROOT_PIN", "wrong-one")
    assert failure("enroll", tmp_path / "acme", "robot-2").reason == "wrong-passphrase"
    monkeypatch.delenv("TALLY_ROOT_PIN")
    assert failure("enroll", tmp_path / "acme", "robot-2").reason == "no-passphrase"
    # Without --seal an environment that has a PIN for something else seals nothing.
    monkeypatch.setenv("TALLY_PIN", PIN)
    good("init", tmp_path / "open", "--name", "open")
    monkeypatch.delenv("TALLY_PIN")
    good("enroll", tmp_path / "open", "robot-1")


def test_a_gateway_and_a_validator_are_enrolled_with_keys_on_a_token(
    token: SoftHsm, tmp_path: Path
) -> None:
    folder = tmp_path / "acme"
    good("init", folder, "--name", "acme")
    file = private(tmp_path / "site.pin", PIN)
    for name, alg in (("gw", ES256), ("receipts", ES256), ("notes", EDDSA)):
        Signer.create(token.uri("site", name), alg, pin).close()
    held = ("--pin-file", file)
    good("enroll", folder, "gw-1", "--kind", "gateway", "--key", token.uri("site", "gw"), *held)
    notes = token.uri("site", "notes")
    receipts = ("--key", token.uri("site", "receipts"), "--note-key")
    refused = failure(
        "enroll", folder, "v-0", "--kind", "validator", *receipts, token.uri("site", "gw"), *held
    )
    assert refused.reason == "wrong-alg"
    assert not (folder / "validators" / "v-0").exists()
    good("enroll", folder, "v-1", "--kind", "validator", *receipts, notes, *held)
    fleet = Fleet.open(folder)
    for kind, label in (("gateway", "gw-1"), ("validator", "v-1")):
        member = fleet.member(kind, label)
        assert keycustody.current(member.identity).level == CUSTODY_PKCS11
        settings = msgspec.toml.decode((member.path / f"{kind}.toml").read_text())
        assert settings["key"].startswith("pkcs11:token=site;object=")
        assert settings["key_pin_file"] == str(file)
        assert not (member.path / "key").exists() and not (member.path / "note.key").exists()
    assert (settings["note_key"], settings["note_key_pin_file"]) == (notes, str(file))
    key = Signer.from_uri(notes, pin)
    shown = fleet.member("validator", "v-1").identity.enrolment.details["note_key"]
    assert shown == NoteKey("acme/v-1", key.public_key()).text()
    key.close()


def test_refusals_of_the_root_name_it(token: SoftHsm, tmp_path: Path) -> None:
    file = private(tmp_path / "root.pin", ROOT_PIN)
    Fleet.init(tmp_path / "acme", "acme", uri=token.uri("office", "r"), pin_file=file).close()
    private(file, "wrong-one")
    fleet = Fleet.open(tmp_path / "acme")
    assert refusal(lambda: fleet.signer).message.startswith("the fleet root: ")
