"""`tally device provision` on emulated boards: once, again, interrupted; what is never shown."""

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from support.emulated_device import EmulatedDevice, quick_cables
from support.emulated_robot import library_files
from support.joinfleet import JoinFleet
from tallystick.evidence.errors import TallyError
from tallystick.hw.signer import Signer
from tallystick.hw.virtual_atecc608 import VirtualAtecc608
from tallystick.hw.virtual_atecc608.server import ChipServer
from tallystick.tools.fleetdir import Member
from tallystick.tools.main import cli
from tallystick.tools.micropython import MicroPython

__all__ = ["quick_cables"]

pytestmark = pytest.mark.usefixtures("quick_cables")
PASSWORD = "canary-of-the-wifi"
SETTINGS = ("--broker", "mqtt://127.0.0.1:1", "--set", "journal_bytes=65536")


@pytest.fixture
def site(tmp_path: Path) -> JoinFleet:
    return JoinFleet(tmp_path, "mqtt://127.0.0.1:1")


def new_board(folder: Path, interpreter: MicroPython) -> EmulatedDevice:
    """A board with the library, and nothing else; without power."""
    made = EmulatedDevice(folder / "flash.img", interpreter)
    made.load(library_files())
    return made


@pytest.fixture(params=[64, 32])
def either(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    micropython64: MicroPython,
    micropython32: MicroPython,
) -> Iterator[EmulatedDevice]:
    interpreter = micropython64 if request.param == 64 else micropython32
    with new_board(tmp_path, interpreter) as made:
        yield made


@pytest.fixture
def board(tmp_path: Path, micropython32: MicroPython) -> Iterator[EmulatedDevice]:
    with new_board(tmp_path, micropython32) as made:
        yield made


def tally(*words: object) -> Result:
    return CliRunner().invoke(cli, ["device", *map(str, words)])


def provision(site: JoinFleet, board: EmulatedDevice, label: str, *more: str) -> dict[str, Any]:
    """As a person does; what it said is in `said`."""
    words = ["provision", site.folder, label, "--port", board.port, *SETTINGS, *more, "--json"]
    done = tally(*words)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    found["said"] = done.stderr
    return found


def devices(site: JoinFleet) -> list[Member]:
    return [member for member in site.opened().members() if member.kind == "device"]


def test_once_and_again(
    site: JoinFleet, either: EmulatedDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One identity; the second time nothing is done; the password is on the board and nowhere."""
    board = either
    dry = provision(site, board, "robot-1", "--dry-run")
    assert dry["device"] is None and "a key would be made" in dry["said"]
    assert "/key" not in board.contents() and devices(site) == []
    secret = tmp_path / "wifi"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    wifi = ("--wifi-ssid", "plant", "--wifi-password-file", str(secret))
    more = ("--detail", "asset_tag=A-0001", "--name", "vda5050=agv-1")
    first = provision(site, board, "robot-1", *more, *wifi)
    (member,) = devices(site)
    assert first["device"] == member.id_text and first["done"]
    assert f"says that it is {member.id_text}" in first["said"]
    assert member.identity.enrolment.details == {
        "asset_tag": "A-0001", "names": {"vda5050": "agv-1"}, "serial": board.words.unique,
    }  # fmt: skip  # two lines
    files = board.contents()
    assert json.loads(files["/wifi.json"]) == {"ssid": "plant", "password": PASSWORD}
    for path in site.folder.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes()
    key = files["/key"]
    again = provision(site, board, "robot-1", *more)
    assert again["device"] == first["device"] and again["written"] == []
    assert board.contents()["/key"] == key and len(devices(site)) == 1
    # Another setting is written, and nothing else.
    changed = provision(site, board, "robot-1", "--namespace", "dock-2")
    assert changed["written"] == ["/tallystick.json"]
    # What another command wrote into the configuration stays there.
    config = json.loads(board.contents()["/tallystick.json"])
    assert config["namespace"] == "dock-2" and config["journal_bytes"] == 65536
    board.power_off()
    board.load({"/tallystick.json": json.dumps({**config, "resend_s": 7}).encode()})
    board.power_on()
    provision(site, board, "robot-1")
    assert json.loads(board.contents()["/tallystick.json"])["resend_s"] == 7
    monkeypatch.setenv("TALLY_WIFI_PASSWORD", PASSWORD)
    assert PASSWORD not in board.said.decode(errors="replace") + first["said"] + again["said"]


def test_info_is_consistent(site: JoinFleet, board: EmulatedDevice) -> None:
    provision(site, board, "robot-1")
    told = json.loads(tally("info", "--port", board.port, "--json").stdout)
    (member,) = devices(site)
    assert told["device"] == member.id_text and told["fleet"] == "acme"
    assert told["enrolment"] == "active" and told["records"] > 0


def test_power_cuts_and_a_cable_pulled_out(site: JoinFleet, board: EmulatedDevice) -> None:
    """At a sample of flash operations and bytes; afterwards one key, one id, and it works."""
    seen = set()
    went = 0
    for cut in (1, 2, 4, 7, 11, 16, 22, 30, 41):
        board.power_cycle(cut_at=cut)
        with contextlib.suppress(TallyError):
            provision(site, board, "robot-1")
        went += board.cut
        board.power_off()
        seen.add(board.contents().get("/key"))
    assert went >= 5, "cuts that came too late"
    board.power_cycle()
    for after in (3000, 9000):
        board.unplug_after(after)
        with contextlib.suppress(TallyError):
            provision(site, board, "robot-1")
        board.plug()
        board.power_cycle()
        seen.add(board.contents().get("/key"))
    assert provision(site, board, "robot-1")["done"]
    seen.add(board.contents()["/key"])
    # No key at first, then one and the same.
    assert len(seen - {None}) == 1
    (member,) = devices(site)
    assert member.label == "robot-1"


def refused(site: JoinFleet, board: EmulatedDevice, label: str, *more: str) -> str:
    with pytest.raises(TallyError) as error:
        provision(site, board, label, *more)
    return error.value.message


def test_what_does_not_fit_is_refused_and_nothing_changes(
    site: JoinFleet, tmp_path: Path, micropython64: MicroPython
) -> None:
    with EmulatedDevice(tmp_path / "flash.img", micropython64) as empty:
        assert "tally device flash" in refused(site, empty, "robot-1")
        empty.power_off()
        empty.load(library_files())
        empty.power_on()
        site.tally("enroll", str(site.folder), "robot-1")
        assert "robot-1 is enrolled already" in refused(site, empty, "robot-1")
        assert "/key" not in empty.contents()
        # Said before anything is done, also by a board that has a key.
        empty.power_off()
        Signer.create(f"file:{tmp_path / 'key'}").close()
        empty.load({"/key": (tmp_path / "key").read_bytes()})
        empty.power_on()
        assert "robot-1 is enrolled already" in refused(site, empty, "robot-1", "--dry-run")
        provision(site, empty, "robot-2")
        before = empty.contents()
        assert "is enrolled already, as device robot-2" in refused(site, empty, "robot-3")
        assert "another one was asked for" in refused(site, empty, "robot-2", "--key", "file:k2")
        other = JoinFleet(tmp_path / "other", "mqtt://127.0.0.1:1")
        toml = other.folder / "fleet.toml"
        toml.write_text(toml.read_text().replace('"acme"', '"zeta"'))
        line = (other.folder / "root.pub").read_text()
        (other.folder / "root.pub").write_text(line.replace("acme+", "zeta+"))
        (other.folder / "gateways" / "gw-1").rename(tmp_path / "gone")
        assert "belongs to the fleet acme" in refused(other, empty, "robot-2")
        assert "there is no setting" in refused(site, empty, "robot-2", "--set", "no_such=1")
        assert empty.contents() == before
    done = tally("provision", site.folder, "x", "--port", "p", "--broker", "mqtts://b")
    assert done.exit_code == 2 and "--tls-ca" in done.output
    done = tally("provision", site.folder, "x", "--port", "p", "--wifi-ssid", "s")
    assert done.exit_code == 2 and "TALLY_WIFI_PASSWORD" in done.output


def test_the_key_is_made_in_a_new_secure_element(
    site: JoinFleet, board: EmulatedDevice, tmp_path: Path
) -> None:
    """A chip as it leaves the maker: shown, locked when its serial number was typed, enrolled."""
    VirtualAtecc608.new(str(tmp_path / "chip"))
    chip = VirtualAtecc608.open(str(tmp_path / "chip"), time_scale=0.0)
    server = ChipServer(("127.0.0.1", 0), chip, lambda _text: None)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        key = ("--key", f"atecc608:tcp=127.0.0.1:{server.server_address[1]}")
        serial = chip.eeprom.serial.hex().upper()
        dry = provision(site, board, "robot-1", *key, "--dry-run")
        assert serial in dry["said"] and "Locks cannot be undone" in dry["said"]
        assert not chip.eeprom.config_locked
        assert "wrong-serial" in _reason(site, board, key, "00")
        assert not chip.eeprom.config_locked
        provision(site, board, "robot-1", *key, "--yes-serial", serial)
        (member,) = devices(site)
        assert member.identity.enrolment.custody == 3
        assert chip.eeprom.config_locked and chip.eeprom.data_locked
        assert "/key" not in board.contents()
        again = provision(site, board, "robot-1")
        assert again["device"] == member.id_text and again["written"] == []
    finally:
        server.shutdown()
        server.server_close()
        chip.close()


def _reason(site: JoinFleet, board: EmulatedDevice, key: tuple[str, str], serial: str) -> str:
    with pytest.raises(TallyError) as error:
        provision(site, board, "robot-1", *key, "--yes-serial", serial)
    return error.value.reason
