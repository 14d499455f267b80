"""What `tally fleet enroll` writes for TLS, and docs/operations.md's broker, run as they stand."""

import json
import os
import re
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from support.authority import Authority
from support.site import until
from tallystick.gateway.config import load
from tallystick.gateway.service import Gateway
from tallystick.recorder import Recorder
from tallystick.tools._ports import free_port
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.main import cli
from tallystick.tools.mosquitto import Mosquitto

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def enroll(fleet: Path, label: str, *options: object) -> Result:
    return CliRunner().invoke(cli, ["fleet", "enroll", str(fleet), label, *map(str, options)])


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    Fleet.init(tmp_path / "acme", "acme")
    return tmp_path / "acme"


def _custody(tally: Recorder) -> bool:
    return tally.health.custody > 0


def commands() -> list[list[str]]:
    """The commands of the broker's section, as lists of words."""
    section = PAGE.read_text().split("## The broker\n")[1].split("\n## ")[0]
    # Without what renews it all later.
    section = section.split("A member's own configuration")[0]
    code = "".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))
    return [line.split()[1:] for line in code.splitlines()]


def test_the_pages_broker_takes_the_pages_members(fleet: Path, mosquitto: Mosquitto) -> None:
    port = free_port()
    for words in commands():
        here = [word.replace("broker.acme.example", "127.0.0.1") for word in words]
        here = [str(fleet) + word[4:] if word[:5] in {"acme", "acme/"} else word for word in here]
        if "broker-config" in here:
            kept = fleet.parent / "kept"
            kept.mkdir()
            here[here.index("--at") + 1] = str(fleet / "broker")
            here += ["--port", str(port), "--persistence", str(kept)]
        here = [w if w != "mqtts://127.0.0.1" else f"mqtts://127.0.0.1:{port}" for w in here]
        done = CliRunner().invoke(cli, here)
        assert done.exit_code == 0, (here, done.output, done.exception)
    settings = (fleet / "broker" / "mosquitto.conf").read_text()
    (fleet / "used").mkdir()

    class Written(Mosquitto):
        def _configuration(self) -> str:
            return settings + ("user root\n" if os.getuid() == 0 else "")

    with Written(fleet / "used", port):
        gateway = Gateway(load(fleet / "gateways" / "gw-1" / "gateway.toml"))
        gateway.start()
        try:
            until(lambda: gateway.broker.subscribed, "the subscription")
            for label in ("robot-1", "robot-2"):
                tally = Recorder.open(str(fleet / "devices" / label / "tallystick.json"))
                tally.decision("m@1", {"n": 1}, urgent=True)
                until(partial(_custody, tally), "custody")
                tally.close()
                assert tally.health.faults == {}
        finally:
            gateway.stop()


def test_the_files_of_a_member(fleet: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    ca_key = authority.write_key()
    options = ("--broker", "mqtts://b", "--tls-ca", authority.file, "--valid-days", 3650)
    done = enroll(fleet, "robot-1", *options, "--tls-ca-key", ca_key)
    assert done.exit_code == 0, done.output
    folder = fleet / "devices" / "robot-1"
    tls = json.loads((folder / "tallystick.json").read_text())["tls"]
    assert tls == {"ca": "broker-ca.pem", "cert": "broker.pem", "key": "broker.key"}
    assert (folder / "broker.key").stat().st_mode & 0o777 == 0o600
    (member,) = Fleet.open(fleet).members()
    made = x509.load_pem_x509_certificate((folder / "broker.pem").read_bytes())
    (name,) = made.subject
    assert name.value == member.id_text
    made.verify_directly_issued_by(authority.certificate)
    # No longer than its authority.
    assert made.not_valid_after_utc == authority.certificate.not_valid_after_utc
    # The authority's key went nowhere.
    secret = ca_key.read_bytes()
    assert all(secret not in file.read_bytes() for file in folder.rglob("*") if file.is_file())
    # Copied ones; and none.
    cert, key = authority.client("robot")
    assert enroll(fleet, "r-2", *options, "--tls-cert", cert, "--tls-key", key).exit_code == 0
    assert (fleet / "devices" / "r-2" / "broker.pem").read_bytes() == cert.read_bytes()
    assert (fleet / "devices" / "r-2" / "broker.key").stat().st_mode & 0o777 == 0o600
    assert enroll(fleet, "r-3", *options).exit_code == 0
    config = json.loads((fleet / "devices" / "r-3" / "tallystick.json").read_text())
    assert config["tls"] == {"ca": "broker-ca.pem"}


def test_what_is_wrong_is_found_before_anybody_is_enrolled(fleet: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    other = Authority(tmp_path / "other").write_key()
    cert, key = authority.client("robot")
    ca = ("--broker", "mqtts://b", "--tls-ca", authority.file)
    (tmp_path / "junk.pem").write_text("junk")
    for options, says in (
        (("--broker", "mqtts://b"), "needs --tls-ca"),
        (("--tls-ca", authority.file), "for a --broker mqtts://"),
        (("--tls-cert", cert, "--tls-key", key), "need --tls-ca"),
        ((*ca, "--tls-cert", cert), "both or neither"),
        ((*ca, "--tls-cert", cert, "--tls-key", key, "--tls-ca-key", other), "one of them"),
        ((*ca, "--tls-ca-key", other), "not the key of its certificate"),
        ((*ca, "--tls-cert", cert, "--tls-key", other), "not the key of its certificate"),
        ((*ca, "--tls-ca-key", tmp_path / "junk.pem"), "no private key in PEM"),
        (("--broker", "mqtts://b", "--tls-ca", tmp_path / "junk.pem"), "not one certificate"),
    ):
        done = enroll(fleet, "robot-1", *options)
        assert done.exit_code != 0
        assert says in f"{done.output}{done.exception}"
    assert list(Fleet.open(fleet).members()) == []
