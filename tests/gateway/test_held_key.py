"""A gateway whose key is on a PKCS#11 token or sealed in a file: opened, pulled, put back."""

import time
from pathlib import Path

import pytest

from support.devices import Fleet
from support.site import Radio, Site, until
from support.tokens import PIN, pin
from support.watching import Looking
from tallystick.evidence import cbor, custody, enrolment
from tallystick.evidence.errors import KeyDriverError, TallyError
from tallystick.evidence.keys import EDDSA, ES256
from tallystick.gateway.check import check
from tallystick.gateway.config import load
from tallystick.hw import _pkcs11_login as logins
from tallystick.hw.signer import Signer
from tallystick.tools.mosquitto import Mosquitto
from tallystick.tools.softhsm import SoftHsm

ACME = Fleet("acme")


def hold(site: Site, uri: str, alg: int) -> Signer:
    """Make the gateway's key elsewhere, enrol it, and configure it with its PIN in a file."""
    made = Signer.create(uri, alg, pin)
    credential = ACME.enrol(made, enrolment.SUBJECT_GATEWAY)  # type: ignore[arg-type]
    site.key = made.public_key()
    (site.folder / "credential.cbor").write_bytes(cbor.encode(credential))
    (site.folder / "gateway.pin").write_text(PIN + "\n")
    (site.folder / "gateway.pin").chmod(0o600)
    text = site.path.read_text()
    text = text.replace('key = "file:key"', f'key = "{uri}"\nkey_pin_file = "gateway.pin"')
    site.path.write_text(text)
    made.close()
    return made


@pytest.fixture
def site(tmp_path: Path, mosquitto: Mosquitto) -> Site:
    made = Site(tmp_path / "gateway", ACME, mosquitto.port)
    made.with_prefix(f"tallystick/{tmp_path.name}")
    return made


def receipted(radio: Radio, site: Site) -> int:
    found = 0
    for data in radio.statements():
        try:
            found = max(found, custody.parse(data).verify(site.key).to)
        except TallyError:
            continue
    return found


def key_check(site: Site) -> tuple[bool, str]:
    [found] = [one for one in check(site.config) if one.name == "key"]
    return found.good, f"{found.found} {found.what_to_do}"


def test_custody_receipts_by_a_key_on_a_token_that_is_pulled_and_put_back(
    site: Site, softhsm: SoftHsm, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "RECONNECT_S_MIN", 0.1)
    softhsm.make("site", PIN)
    hold(site, softhsm.uri("site", "gateway"), ES256)
    robot = ACME.device("robot-on-token")
    robot.record(5)
    site.enrol(robot)
    prefix = site.config.broker.prefix
    with site.running() as gateway, Radio(mosquitto.port, robot, prefix) as radio:
        radio.up(robot.hello(), *robot.segments())
        until(lambda: receipted(radio, site) == robot.size, "custody")
        softhsm.pull()
        before = robot.size
        robot.record(3)
        last = robot.segments()[-1]
        radio.up(last)
        until(lambda: gateway.signing.error, "the failure")
        until(lambda: "key:" in str(site.status()["process"].get("error")), "the status")
        assert receipted(radio, site) == before
        assert PIN not in str(site.status())
        looking = Looking(gateway)
        told = looking.look().status
        looking.close()
        assert not told.well and PIN not in str(told)
        assert told.sentence == "This gateway's key does not answer, so no receipt is signed."
        assert told.beside[0].startswith("This gateway's key does not answer (key: ")
        softhsm.put_back()
        time.sleep(0.2)

        # A device that gets no receipt sends again (F05: the record is safe, the receipt follows).
        def again() -> bool:
            radio.up(last)
            return receipted(radio, site) == robot.size

        until(again, "custody after the token came back")
        assert gateway.signing.error == ""


def test_check_says_why_the_key_does_not_open(
    site: Site, softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    softhsm.make("site", PIN)
    hold(site, softhsm.uri("site", "gateway"), EDDSA)
    assert key_check(site)[0]
    file = site.folder / "gateway.pin"
    for text, mode, says in (
        ("wrong-one\n", 0o600, "the PIN is wrong"),
        (PIN, 0o644, "chmod 600"),
        ("", 0o600, "no single line"),
    ):
        file.write_text(text)
        file.chmod(mode)
        good, said = key_check(site)
        assert not good and says in said and PIN not in said
    file.unlink()
    assert "cannot be read" in key_check(site)[1]
    # Without the setting, what systemd or the environment give.
    site.path.write_text(site.path.read_text().replace('key_pin_file = "gateway.pin"\n', ""))
    for name in ("TALLY_PIN", "TALLY_KEY_PIN", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    good, said = key_check(site)
    assert not good and "its PIN is needed" in said and "key_pin_file" in said
    monkeypatch.setenv("TALLY_KEY_PIN", PIN)
    assert key_check(site)[0]
    softhsm.pull()
    assert "no such token" in key_check(site)[1]


def test_a_sealed_key_file_opens_with_the_same_settings(site: Site) -> None:
    sealed = site.folder / "sealed"
    hold(site, f"file:{sealed}", EDDSA)
    with pytest.raises(KeyDriverError, match="passphrase is needed"):
        Signer.from_uri(f"file:{sealed}")
    assert key_check(site) == (True, "fits the credential ")
    (site.folder / "gateway.pin").write_text("wrong-one")
    good, said = key_check(site)
    assert not good and "passphrase does not open it" in said


def test_the_pin_is_nowhere_in_the_configuration(site: Site, tmp_path: Path) -> None:
    hold(site, f"file:{site.folder / 'sealed'}", EDDSA)
    assert PIN not in repr(load(site.path)) and PIN not in site.path.read_text()
