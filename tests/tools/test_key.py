"""`tally key` and enrolment of keys where they are: chips, files, requests."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from support.chips608 import SERIAL, UNIQUE, set_up
from tallystick.evidence import enrolmentrequest, keycustody
from tallystick.evidence.credential import verify_credential
from tallystick.evidence.enrolment import CUSTODIES
from tallystick.evidence.errors import TallyError
from tallystick.gateway import config as gateway_config
from tallystick.hw.signer import Signer
from tallystick.hw.virtual_atecc608 import VirtualAtecc608
from tallystick.recorder import Recorder
from tallystick.tools.fleetdir import Fleet, read_credential
from tallystick.tools.main import cli
from tallystick.validator import config as validator_config


def tally(*args: object, typed: str | None = None) -> Result:
    return CliRunner().invoke(cli, [*map(str, args)], input=typed)


def refused(*args: object, typed: str | None = None) -> str:
    """The reason; the sentence itself is printed by main()."""
    result = tally(*args, typed=typed)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, TallyError)
    return result.exception.reason


def done(*args: object, typed: str | None = None) -> str:
    result = tally(*args, typed=typed)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet.init(tmp_path / "acme", "acme")


def test_a_chip_from_its_box_to_its_enrolment(fleet: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "chip"
    VirtualAtecc608.new(str(path), unique=UNIQUE)
    uri = f"atecc608:virtual={path}"
    assert refused("key", "show", uri) == "not-locked"
    assert SERIAL in tally("key", "show", uri).output  # what it is, all the same
    before = path.read_bytes()
    assert "nothing was done" in done("key", "provision", uri, "--dry-run")
    assert refused("key", "provision", uri, typed="0123\n") == "wrong-serial"
    assert refused("key", "provision", uri, "--yes-serial", "0123") == "wrong-serial"
    assert path.read_bytes() == before
    said = done("key", "provision", uri, typed=f"{SERIAL.lower()}\n")
    assert "slot 0: locked" in said and "tally key request" in said
    assert "nothing is to be done" in done("key", "provision", uri)
    shown = json.loads(done("key", "show", uri, "--json"))
    assert shown["serial_number"] == SERIAL and shown["custody"] == "secure-element"
    assert shown["counter"] == "0 of 2,097,151"
    assert refused("key", "create", uri) == "key-exists"
    request = tmp_path / "robot-7.request"
    said = done("key", "request", uri, "--fleet", "acme", "--out", request, "--detail", "a=b")
    assert "it does not prove" in said and shown["id"] in said
    assert enrolmentrequest.parse(request.read_bytes()).details == {"a": "b"}
    said = done("fleet", "enroll", tmp_path / "acme", "robot-7", "--request", request, "--key", uri)
    assert shown["id"] in said and "secure-element" in said
    member = fleet.member("device", "robot-7")
    counted = keycustody.current(member.identity)
    assert CUSTODIES[counted.level] == "secure-element" and not counted.why()
    config = json.loads((member.path / "tallystick.json").read_text())
    assert config["key"] == uri
    tally_recorder = Recorder.open(str(member.path / "tallystick.json"), uplink=None)
    assert tally_recorder.device == member.id
    tally_recorder.close()


def test_a_chip_on_this_machine_is_enrolled_at_once(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(tmp_path / "chip")
    monkeypatch.chdir(tmp_path)
    done("fleet", "enroll", "acme", "robot-7", "--key", "atecc608:virtual=chip;slot=0")
    member = fleet.member("device", "robot-7")
    assert member.identity.enrolment.custody == CUSTODIES.index("secure-element")
    assert not member.key_path.exists()
    # A path of a command line is relative to here; the configuration may be read from elsewhere.
    config = json.loads((member.path / "tallystick.json").read_text())
    assert config["key"] == f"atecc608:virtual={tmp_path / 'chip'};slot=0"
    # The chip is free again.
    done("key", "test", "atecc608:virtual=chip")


def test_boards_are_written_as_numbers(fleet: Fleet, tmp_path: Path) -> None:
    key = Signer.create(f"file:{tmp_path / 'key'}")
    request = tmp_path / "r"
    request.write_bytes(enrolmentrequest.make(key, "acme").encode())
    uri = "atecc608:board=raspberry-pi-pico"
    done("fleet", "enroll", tmp_path / "acme", "r-1", "--request", request, "--key", uri)
    config = json.loads((fleet.path / "devices" / "r-1" / "tallystick.json").read_text())
    assert config["key"] == "atecc608:id=0;scl=5;sda=4;freq=100000;address=0x60"
    said = done("key", "boards")
    assert config["key"] in said and "raspberry-pi" in json.loads(done("key", "boards", "--json"))


def test_gateways_and_validators_keep_keys_elsewhere(fleet: Fleet, tmp_path: Path) -> None:
    for kind in ("gateway", "validator"):
        key = tmp_path / f"{kind}.key"
        Signer.create(f"file:{key}")
        done("fleet", "enroll", tmp_path / "acme", "x", "--kind", kind, "--key", f"file:{key}")
    gateway = gateway_config.load(fleet.path / "gateways" / "x" / "gateway.toml")
    assert gateway.key == f"file:{tmp_path / 'gateway.key'}"
    validator = validator_config.load(fleet.path / "validators" / "x" / "validator.toml")
    assert validator.key == f"file:{tmp_path / 'validator.key'}"


def test_a_request_that_claims_more_than_it_shows(fleet: Fleet, tmp_path: Path) -> None:
    asked = enrolmentrequest.make(Signer.create(f"file:{tmp_path / 'key'}"), "acme")
    asked.custody = CUSTODIES.index("tpm")
    request = tmp_path / "r"
    request.write_bytes(asked.encode())
    enroll = ("fleet", "enroll", tmp_path / "acme", "robot-7", "--request", request)
    assert refused(*enroll) == "bad-custody"
    assert list((fleet.path / "devices").iterdir()) == []
    assert "held in software" in done(*enroll, "--as-software")


def test_requests_of_other_fleets_and_no_requests(fleet: Fleet, tmp_path: Path) -> None:
    request = tmp_path / "r"
    done("key", "create", f"file:{tmp_path / 'key'}")
    done("key", "request", f"file:{tmp_path / 'key'}", "--fleet", "borealis", "--out", request)
    enroll = ("fleet", "enroll", tmp_path / "acme", "robot-7", "--request", request)
    assert refused(*enroll) == "not-enrolled"
    request.write_bytes(b"\x80")
    result = tally(*enroll)
    assert isinstance(result.exception, TallyError)
    assert "tally key request" in result.exception.message
    request.write_bytes(bytes(100_000))
    assert refused(*enroll) == "too-large"


def test_keys_in_files(tmp_path: Path) -> None:
    uri = f"file:{tmp_path / 'key'}"
    made = json.loads(tally("key", "create", uri, "--alg", "p256", "--json").stdout)
    shown = json.loads(done("key", "show", uri, "--json"))
    assert shown == made and shown["custody"] == "software" and "P-256" in shown["key"]
    assert json.loads(done("key", "test", uri, "--json"))["works"]
    assert refused("key", "create", uri) == "key-exists"
    assert refused("key", "provision", uri) == "bad-key-uri"
    assert refused("key", "show", "vault:x") == "bad-key-uri"
    assert tally("key", "create", uri, "--alg", "rsa").exit_code == 2
    said = done("key", "request", uri, "--fleet", "acme", "--out", tmp_path / "r", "--json")
    assert json.loads(said)["evidence"] == []
    assert refused("key", "request", uri, "--fleet", "A B", "--out", tmp_path / "r") == "bad-header"
    assert refused(
        "key", "request", uri, "--fleet", "acme", "--out", tmp_path / "r", "--detail", "x"
    )


def test_a_sealed_key_needs_its_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"file:{tmp_path / 'key'}"
    pin = tmp_path / "pin"
    pin.write_text("canary-passphrase-51\n")
    pin.chmod(0o600)
    monkeypatch.delenv("TALLY_PIN", raising=False)
    assert "canary" not in done("key", "create", uri, "--pin-file", pin)
    assert refused("key", "test", uri) == "no-passphrase"
    assert "canary" not in done("key", "test", uri, "--pin-file", pin)
    monkeypatch.setenv("TALLY_PIN", "canary-passphrase-51")
    assert "canary" not in done("key", "show", uri)
    monkeypatch.setenv("TALLY_PIN", "wrong")
    assert refused("key", "show", uri)


def test_an_enrolled_chip_verifies_against_the_root(fleet: Fleet, tmp_path: Path) -> None:
    uri = set_up(tmp_path / "chip")
    done("fleet", "enroll", tmp_path / "acme", "robot-7", "--key", uri)
    path = fleet.path / "devices" / "robot-7" / "credential.cbor"
    identity = verify_credential(read_credential(path), fleet.roots(), None)
    assert [kind for kind, _ in identity.enrolment.evidence] == ["atecc608-config"]


def test_without_a_terminal_the_serial_number_is_an_option(tmp_path: Path) -> None:
    VirtualAtecc608.new(str(tmp_path / "chip"))
    uri = f"atecc608:virtual={tmp_path / 'chip'}"
    did = CliRunner().invoke(cli, ["key", "provision", uri], input="")
    assert did.exit_code == 2
    assert "nothing was done" in did.output and "--yes-serial" in did.output
    shown = CliRunner().invoke(cli, ["key", "show", uri])
    assert "not locked" in shown.output


def test_an_open_key_file_is_called_open(tmp_path: Path) -> None:
    made = tally("key", "create", f"file:{tmp_path / 'open'}")
    assert "lies open: whoever reads it has the key" in made.stderr
    made = tally("fleet", "init", tmp_path / "acme", "--name", "acme")
    assert "root.key lies open" in made.stderr
    made = tally("fleet", "enroll", tmp_path / "acme", "robot-1")
    assert made.exit_code == 0 and "key lies open" in made.stderr
    pin = tmp_path / "pin"
    pin.touch(0o600)
    pin.write_text("a long passphrase\n")
    made = tally("key", "create", f"file:{tmp_path / 'sealed'}", "--pin-file", pin)
    assert made.exit_code == 0 and "lies open" not in made.stderr
