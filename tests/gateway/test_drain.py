"""`tally gateway drain`: what a stopped gateway holds goes to its validators."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner, Result

from support.devices import Fleet
from support.notary import Notary
from support.site import Site
from tallystick.evidence.errors import CouldNotCheck
from tallystick.gateway import importing
from tallystick.gateway.draining import drain
from tallystick.gateway.store import Store, StoreBusy
from tallystick.tools.gateway import gateway

ACME, OTHER = Fleet("acme"), Fleet("borealis")


class House:
    """A stopped gateway of two fleets, of which its validator knows one."""

    def __init__(self, folder: Path) -> None:
        self.notary = Notary(folder / "notary", ACME)
        self.site = Site(folder / "site", ACME, 1, validators=self.notary.toml)
        text = self.site.path.read_text()
        both = f'roots = ["{ACME.root_line}", "{OTHER.root_line}"]'
        self.site.path.write_text(text.replace(f'roots = ["{ACME.root_line}"]', both))

    def fill(self, fleet: Fleet = ACME, name: str = "robot-1", count: int = 20) -> None:
        robot = fleet.device(name)
        for _ in range(count):
            robot.record(2)
        pairs = [(robot.id, data) for data in (robot.hello(), *robot.segments())]
        assert importing.take_in(self.site.config, pairs).segments == count

    def drain(self, *options: str) -> Result:
        shown = CliRunner().invoke(gateway, ["drain", "--config", str(self.site.path), *options])
        if shown.exception is not None and not isinstance(shown.exception, SystemExit):
            raise shown.exception
        return shown


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """The command configures them for its own standard error."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.notary.stop()


def test_everything_is_sent_and_what_is_refused_is_counted(house: House) -> None:
    house.fill()
    house.fill(OTHER, "robot-b", 3)
    house.notary.start()
    shown = house.drain("--json")
    assert shown.exit_code == 0
    (row,) = json.loads(shown.stdout)["validators"]
    assert (row["has"], row["size"], row["held"], row["set_aside"]) == (23, 23, 0, 3)
    again = house.drain()
    assert again.exit_code == 0
    assert "notary has 23 of 23 segments, 0 wait, 3 are set aside" in again.output


def test_a_validator_that_is_away_is_said(house: House) -> None:
    house.fill(count=2)
    shown = house.drain("--wait", "0.5")
    assert shown.exit_code == 1
    assert "notary has 0 of 2 segments" in shown.output
    assert "refused" in shown.output
    house.notary.start()
    assert house.drain().exit_code == 0


def test_a_running_or_foreign_gateway_is_left_alone(house: House) -> None:
    running = Store(house.site.folder / "gateway.sqlite")
    with pytest.raises(StoreBusy):
        house.drain()
    with running.write() as connection:
        connection.execute("INSERT INTO meta VALUES ('gateway', zeroblob(32))")
    running.close()
    with pytest.raises(CouldNotCheck, match="another gateway"):
        house.drain()


def test_without_validators_nothing_is_said_to_be_sent(house: House) -> None:
    house.fill(count=1)
    text = house.site.path.read_text()
    house.site.path.write_text(text.replace(house.notary.toml, ""))
    shown = house.drain()
    assert shown.exit_code == 1
    assert "nothing was sent" in shown.output
    assert json.loads(house.drain("--json").stdout) == {"done": False, "validators": []}


def test_a_store_that_is_not_there_is_not_drained(house: House) -> None:
    house.notary.start()
    with pytest.raises(CouldNotCheck, match="no store"):
        house.drain()
    assert not list(house.site.folder.glob("gateway.sqlite*"))


def test_how_far_it_is_is_told(house: House) -> None:
    house.fill(count=3)
    house.notary.start()
    told: list[tuple[int, int]] = []
    drain(house.site.config, threading.Event(), 60, lambda f: told.append((f[0].has, f[0].size)))
    assert told[-1] == (3, 3)
    assert told == sorted(told)
