"""A whole way with every key held: root, robots, gateway and notes on tokens, one in a TPM."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from support.keystations import InTpm
from support.site import until
from support.tokens import PIN, pin
from tallystick.evidence.keys import EDDSA, ES256
from tallystick.gateway import config as gateway_config
from tallystick.gateway import service as gateway_service
from tallystick.hw import _pkcs11_module as modules
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder
from tallystick.tools._ports import free_port
from tallystick.tools.api import ValidatorApi
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.main import cli
from tallystick.tools.mosquitto import Mosquitto
from tallystick.tools.running import Service, Services
from tallystick.tools.softhsm import SoftHsm
from tallystick.validator import config as validator_config
from tallystick.validator import service as validator_service

WAIT_S = 90


def tally(*arguments: object) -> str:
    result = CliRunner().invoke(cli, list(map(str, arguments)))
    assert result.exit_code == 0, (result.output, result.exception)
    assert PIN not in result.output
    return result.output


class Held:
    """A fleet in a folder, enrolled as its operator does it."""

    def __init__(self, folder: Path, token: SoftHsm, tpm: InTpm, broker: str) -> None:
        self.folder = folder / "acme"
        self.pin_file = folder / "pin"
        self.pin_file.write_text(PIN)
        self.pin_file.chmod(0o600)
        held = ("--pin-file", self.pin_file)
        root = token.uri("site", "root")
        tally("fleet", "init", self.folder, "--name", "acme", "--key", root, *held)
        for name, alg in (("gw", ES256), ("notes", EDDSA), ("giver", ES256), ("receiver", EDDSA)):
            Signer.create(token.uri("site", name), alg, pin).close()
        tpm.create().close()
        self.url = f"127.0.0.1:{free_port()}"
        enroll = ("fleet", "enroll", self.folder)
        tally(
            *(*enroll, "v-1", "--kind", "validator", "--bind", self.url, "--key", tpm.uri()),
            *("--as-software", "--note-key", token.uri("site", "notes"), *held),
        )
        credential = self.folder / "validators" / "v-1" / "credential.cbor"
        peer = f"http://{self.url}={credential}"
        tally(
            *(*enroll, "gw-1", "--kind", "gateway", "--key", token.uri("site", "gw"), *held),
            *("--broker", broker, "--validator", peer),
        )
        # The PIN's file as an option, and in the URI: the robot's configuration has it either way.
        tally(*(*enroll, "giver", "--key", token.uri("site", "giver"), *held, "--broker", broker))
        uri = token.uri("site", "receiver", self.pin_file)
        tally(*(*enroll, "receiver", "--key", uri, "--broker", broker))

    def config(self, kind: str, label: str, name: str) -> Path:
        return self.folder / f"{kind}s" / label / name

    def services(self) -> Services:
        validator = validator_config.load(self.config("validator", "v-1", "validator.toml"))
        gateway = gateway_config.load(self.config("gateway", "gw-1", "gateway.toml"))
        return Services(
            [
                Service("validator", lambda stop: validator_service.run(validator, stop)),
                Service("gateway", lambda stop: gateway_service.run(gateway, stop)),
            ]
        )

    def hand_over(self) -> None:
        """Two robots, both with keys on the token, claim one handover."""
        fleet = Fleet.open(self.folder)
        ids = {name: fleet.member("device", name).id for name in ("giver", "receiver")}
        with_both = {
            name: Recorder.open(str(self.config("device", name, "tallystick.json"))) for name in ids
        }
        given: dict[str, Any] = {
            "task": "order-1",
            "item": "pallet",
            "position_m": ["1.25", "2.50"],
        }
        try:
            giver, receiver = with_both["giver"], with_both["receiver"]
            half = giver.claim(
                "handover@1",
                role="giver",
                claim="released",
                peers={"receiver": ids["receiver"]},
                **given,
            )
            assert half and receiver.accept(half).kept
            answer = receiver.claim(
                "handover@1",
                role="receiver",
                claim="acquired",
                peers={"giver": ids["giver"]},
                relied=[half],
                **given,
            )
            assert giver.accept(answer).kept
            with ValidatorApi(f"http://{self.url}") as api:
                until(lambda: api.counts().states.get("matched"), "the verdict", WAIT_S)
        finally:
            for recorder in with_both.values():
                recorder.close()


@pytest.fixture
def held(
    tmp_path: Path, softhsm: SoftHsm, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Held]:
    for name in ("TALLY_PIN", "TALLY_ROOT_PIN", "TALLY_KEY_PIN", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    softhsm.make("site", PIN)
    tpm = InTpm(tmp_path / "tpm-station", monkeypatch)
    try:
        yield Held(tmp_path, softhsm, tpm, f"mqtt://127.0.0.1:{mosquitto.port}")
    finally:
        tpm.close()


def test_a_handover_from_held_keys_to_a_verified_file(held: Held, tmp_path: Path) -> None:
    assert "good" in tally(
        "validator", "check", "--config", held.config("validator", "v-1", "validator.toml")
    )
    with held.services():
        with ValidatorApi(f"http://{held.url}") as api:
            until(api.ready, "the validator", WAIT_S)
        said = tally("gateway", "check", "--config", held.config("gateway", "gw-1", "gateway.toml"))
        assert "fits the credential" in said
        held.hand_over()
        token = held.config("validator", "v-1", "reader.token")
        out = tmp_path / "handover.tally"
        tally(
            *("export", "--validator", f"http://{held.url}", "--token-file", token, "--out", out),
            *("--interaction", "acme/order-1", "--profile", "handover"),
        )
    assert not modules._modules  # every session was given back
    policy = tmp_path / "policy.toml"
    tally("fleet", "policy", held.folder, "--out", policy)  # demands keys in hardware
    report = json.loads(tally("verify", out, "--policy", policy, "--json"))
    assert "pkcs11" in json.dumps(report)
    assert PIN.encode() not in out.read_bytes()


def test_no_file_of_the_fleet_and_no_log_holds_the_pin(
    held: Held, capfd: pytest.CaptureFixture[str]
) -> None:
    with held.services(), ValidatorApi(f"http://{held.url}") as api:
        until(api.ready, "the validator", WAIT_S)
    for path in held.folder.rglob("*"):
        assert not path.is_file() or PIN.encode() not in path.read_bytes(), path
    shown = capfd.readouterr()
    assert PIN not in shown.out and PIN not in shown.err


def test_a_gateway_rotates_on_its_token_with_the_pin_that_it_is_configured_with(
    held: Held, softhsm: SoftHsm
) -> None:
    Signer.create(softhsm.uri("site", "gw2"), ES256, pin).close()
    tally("fleet", "rotate", held.folder, "gw-1", "--key", softhsm.uri("site", "gw2"))
    config = held.config("gateway", "gw-1", "gateway.toml").read_text()
    assert softhsm.uri("site", "gw2") in config and str(held.pin_file) in config
    shown = json.loads(tally("fleet", "show", held.folder, "gw-1", "--json"))
    assert [key["custody"] for key in shown["keys"]] == ["pkcs11", "pkcs11"]
    text = tally("fleet", "show", held.folder, "gw-1")
    assert text.count("shown: the token says that it made the key itself") == 2
    assert "not proven: that the token is hardware" in text
