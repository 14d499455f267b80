"""F20: on SIGHUP all of a new configuration comes into force, or nothing, and the line is named."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.devices import Fleet
from support.notary import Notary
from support.site import Site, until
from tallystick.gateway import configlines
from tallystick.gateway.service import Gateway
from tallystick.gateway.status import status_of

ACME, OTHER = Fleet("acme"), Fleet("borealis")


class House:
    """A gateway that runs without a broker, and the file that it was started with."""

    def __init__(self, folder: Path) -> None:
        self.notary = Notary(folder / "notary", ACME)
        self.other = Notary(folder / "other", ACME, name="other")
        self.site = Site(folder / "site", ACME, 1, validators=self.notary.toml)
        self.gateway = Gateway(self.site.config)
        for way in self.gateway.ways:
            way.start()

    def write(self, text: str) -> None:
        self.site.path.write_text(text)
        self.gateway.reloading.turn()

    @property
    def text(self) -> str:
        return self.site.path.read_text()

    def line(self, wanted: str) -> int:
        lines = self.text.splitlines()
        return next(n for n, line in enumerate(lines, 1) if wanted in line)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.gateway.stop()


def test_what_can_change_changes(house: House) -> None:
    gateway = house.gateway
    before = gateway.ways
    house.write(
        house.text + '[limits]\nstore_bytes_max = 99_000_000\n[retention]\nevents = "2 d"\n'
    )
    assert gateway.reloading.error == ""
    assert gateway.worker.gauge.bytes_max == 99_000_000
    assert gateway.pruner.retention.ages_ms == {2: 2 * 86_400_000}
    # Nothing changed for the validator: its way goes on.
    assert gateway.ways == before
    house.write(house.text.replace("99_000_000", "98_000_000"))
    assert gateway.worker.gauge.bytes_max == 98_000_000
    assert gateway.pruner.retention.validators == ("notary",)


def test_validators_come_change_and_go(house: House) -> None:
    gateway = house.gateway
    (first,) = gateway.ways
    house.write(house.text + house.other.toml)
    assert [way.peer.config.name for way in gateway.ways] == ["notary", "other"]
    assert gateway.ways[0] is first
    assert all(thread.is_alive() for way in gateway.ways for thread in way.threads)
    assert gateway.pruner.retention.validators == ("notary", "other")
    house.write(
        house.text.replace(house.other.toml, "").replace('send = "full"', 'send = "hashes"')
    )
    assert gateway.reloading.error == ""
    (changed,) = gateway.ways
    assert changed is not first
    assert changed.peer.config.send == "hashes"
    assert not any(thread.is_alive() for thread in first.threads)


def test_roots_come_and_go(house: House) -> None:
    gateway = house.gateway
    robot = OTHER.device("robot-b")
    live = gateway.config.roots
    assert set(live) == {"acme"}
    both = house.text.replace(f'["{ACME.root_line}"]', f'["{ACME.root_line}", "{OTHER.root_line}"]')
    plain = house.text
    house.write(both)
    assert set(live) == {"acme", "borealis"}
    assert gateway.config.roots is live
    gateway.worker.add_credential(robot.credential)
    gateway.worker.turn(0)
    assert gateway.worker.core.identities.find(robot.id) is not None
    house.write(plain)
    assert set(live) == {"acme"}
    gateway.worker.turn(0)
    assert gateway.worker.core.identities.find(robot.id) is None


@pytest.mark.parametrize(
    ("old", "new", "said", "wanted"),
    [
        ('fleet = "acme"', 'fleet = "acme', "line 3", ""),
        ('store = "gateway.sqlite"', 'store = "other.sqlite"', "store", "other.sqlite"),
        ('name = "dock-north"', 'name = "dock-south"', "broker, name", "[broker]"),
        ("[broker]", "[broker]\ncolour = 1", "colour", "colour"),
        ('roots = ["', 'roots = ["no.pub", "', "no.pub", "no.pub"),
        ("[broker]", "[limits]\nretry_s_max = 0\n[broker]", "0.05", "retry_s_max"),
        ("[broker]", '[limits]\nstore_bytes_max = "9"\n[broker]', "int", "store_bytes_max"),
        ("[broker]", '[retention]\nclaims = "ever"\n[broker]', "ever", "claims"),
        ('credential = "credential.cbor"', 'credential = "gone.cbor"', "gone.cbor", "gone.cbor"),
    ],
)
def test_a_bad_file_changes_nothing_and_names_the_line(
    old: str, new: str, said: str, wanted: str, house: House
) -> None:
    gateway = house.gateway
    config, ways = gateway.config, gateway.ways
    good = house.text
    assert old in good
    # A good change beside the bad one does not come into force either.
    house.write(good.replace(old, new) + house.other.toml)
    error = gateway.reloading.error
    assert said in error
    assert str(house.site.path) in error
    assert not wanted or f"line {house.line(wanted)})" in error
    assert gateway.config is config
    assert gateway.ways == ways
    house.write(good)
    assert gateway.reloading.error == ""


def test_lines_of_settings() -> None:
    data = b'a = 1\n[limits]\nb = 2\n[[validators]]\nurl = "x"\n[other]\nb = 3\n'
    assert configlines.of_setting(data, "limits.b") == " (line 3)"
    assert configlines.of_setting(data, "a") == " (line 1)"
    assert configlines.of_setting(data, "limits.missing") == " (line 2)"
    assert configlines.of_setting(data, "nowhere") == ""
    assert configlines.of_setting(b"\xff", "a") == ""
    assert configlines.hint(data, "Expected `int` - at `$.validators[0].url`") == " (line 5)"
    assert configlines.hint(data, "bad (at line 3, column 2)") == ""


def test_sighup_of_the_process(tmp_path: Path) -> None:
    site = Site(tmp_path, ACME, 1)
    folders = os.pathsep.join(["firmware", "gateway", "hw", "validator", "tools"])
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", "from tallystick.tools.main import main; main()"),
            *("gateway", "run", "--config", str(site.path)),
        ],
        env=os.environ | {"PYTHONPATH": folders},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )

    def told() -> dict[str, object]:
        try:
            found: dict[str, object] = status_of(tmp_path / "gateway.sqlite")["process"]
        except Exception:  # noqa: BLE001 - it has only begun
            return {}
        return found

    try:
        until(lambda: told().get("running"), "the start")
        good = site.path.read_text()
        site.path.write_text(good.replace("[broker]", "[brokr]"))
        process.send_signal(signal.SIGHUP)
        until(lambda: "brokr" in str(told().get("reload_error")), "the error")
        site.path.write_text(good)
        process.send_signal(signal.SIGHUP)
        until(lambda: told().get("reload_error") == "", "the good one")
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGTERM)
        out = process.communicate(timeout=90)[0]
    assert process.returncode == 0
    assert b"the old configuration stays in force" in out
    assert json.dumps(site.name) in good
