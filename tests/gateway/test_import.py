"""`tally gateway import`: pulled journals by the same path as over a broker."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner, Result

from support.devices import Device, Fleet
from support.realgateway import RealGateway
from support.site import Site
from tallystick.evidence import cbor, custody
from tallystick.evidence.errors import CouldNotCheck, Malformed, TallyError
from tallystick.gateway import importing, limits
from tallystick.gateway.store import Store, StoreBusy
from tallystick.recorder import Recorder
from tallystick.tools.gateway import gateway

ACME, OTHER = Fleet("acme"), Fleet("borealis")


class House:
    def __init__(self, folder: Path) -> None:
        self.site = Site(folder / "site", ACME, 1)
        self.folder = folder
        self.store = folder / "site" / "gateway.sqlite"

    def pulled(self, robot: Device, name: str = "robot-1") -> Path:
        """A folder as `tally device pull` writes it."""
        folder = self.folder / name
        (folder / "segments").mkdir(parents=True, exist_ok=True)
        (folder / "credential.cbor").write_bytes(cbor.encode(list(robot.credential)))
        for n, data in enumerate(robot.segments(), 1):
            (folder / "segments" / f"{robot.epoch.hex()}-{n}.segment").write_bytes(data)
        return folder

    def run(self, *sources: Path) -> Result:
        arguments = [*map(str, sources), "--config", str(self.site.path), "--json"]
        shown = CliRunner().invoke(gateway, ["import", *arguments])
        if shown.exception is not None and not isinstance(shown.exception, SystemExit):
            raise shown.exception
        return shown

    def ranges(self) -> list[tuple[int, int]]:
        store = Store(self.store)
        with store.write() as connection:
            found = connection.execute("SELECT first, until FROM segments ORDER BY at").fetchall()
        store.close()
        return found


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """The command configures them for its own standard error."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def robot_of(count: int, fleet: Fleet = ACME, name: str = "robot-1") -> Device:
    robot = fleet.device(name)
    for _ in range(count):
        robot.record(4)
    return robot


def test_a_pulled_journal_is_taken_and_receipted(house: House) -> None:
    robot = robot_of(12)
    later = robot.new_epoch(b"epoch--2")
    later.record(3)
    folder = house.pulled(robot)
    house.pulled(later)
    shown = house.run(folder)
    assert shown.exit_code == 0
    found = json.loads(shown.stdout)
    assert (found["segments"], found["refused"], found["receipts"]) == (13, {}, 2)
    receipts = [
        custody.parse(path.read_bytes()).verify(house.site.key)
        for path in sorted((folder / "custody").iterdir())
    ]
    assert {(receipt.epoch, receipt.to) for receipt in receipts} == {
        (robot.epoch, robot.size),
        (later.epoch, later.size),
    }
    # Again: known, and nothing twice.
    assert json.loads(house.run(folder).stdout)["segments"] == 0
    assert len(house.ranges()) == 13
    # What came since is taken; so is a single file of a device that is known now.
    robot.record(2)
    file = house.folder / "one.segment"
    file.write_bytes(robot.segments()[-1])
    assert json.loads(house.run(file).stdout)["segments"] == 1


def test_what_is_wrong_is_refused_and_the_rest_taken(house: House) -> None:
    robot, stranger = robot_of(3), robot_of(2, OTHER, "robot-b")
    folder = house.pulled(robot)
    file = folder / "segments" / f"{robot.epoch.hex()}-3.segment"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    shown = house.run(folder, house.pulled(stranger, "robot-b"))
    assert shown.exit_code == 1
    found = json.loads(shown.stdout)
    assert found["segments"] == 2
    assert found["refused"] == {"bad-signature": 1, "not-enrolled": 1, "unknown-device": 2}
    table = CliRunner().invoke(gateway, ["import", str(folder), "--config", str(house.site.path)])
    assert "1 refused: bad-signature" in table.output
    assert "2 were known" in table.output


def test_a_running_gateway_and_a_foreign_store_are_left_alone(house: House) -> None:
    folder = house.pulled(robot_of(2))
    running = Store(house.store)
    with pytest.raises(StoreBusy):
        house.run(folder)
    with running.write() as connection:
        connection.execute("INSERT INTO meta VALUES ('gateway', zeroblob(32))")
    running.close()
    with pytest.raises(CouldNotCheck, match="another gateway"):
        house.run(folder)
    assert house.ranges() == []


def test_a_store_without_room_takes_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = house.pulled(robot_of(2))
    # As if the disk had nothing left.
    monkeypatch.setattr(limits, "DISK_RESERVE_BYTES", 1 << 62)
    with pytest.raises(CouldNotCheck, match="no room"):
        house.run(folder)
    assert house.ranges() == []
    assert not (folder / "custody").exists()


def test_it_repairs_what_is_damaged(house: House) -> None:
    robot = robot_of(4)
    folder = house.pulled(robot)
    house.run(folder)
    store = Store(house.store)
    with store.write() as connection:
        connection.execute("UPDATE segments SET data = zeroblob(400) WHERE at = 2")
        connection.execute("INSERT INTO damaged (at, found_ms) VALUES (2, 1)")
    store.close()
    assert json.loads(house.run(folder).stdout)["repaired"] == 1
    store = Store(house.store)
    with store.write() as connection:
        (data,) = connection.execute("SELECT data FROM segments WHERE at = 2").fetchone()
    store.close()
    assert data == robot.segments()[2]


def test_folders_that_are_none(house: House) -> None:
    robot = robot_of(1)
    folder = house.pulled(robot)
    for file in (folder / "segments").iterdir():
        file.rename(file.with_name("x-y.segment"))
    with pytest.raises(Malformed, match="not a file of"):
        house.run(folder)
    (folder / "segments" / "x-y.segment").unlink()
    with pytest.raises(Malformed, match="nothing was pulled"):
        house.run(folder)


def robots_own(house: House, decisions: int) -> Path:
    """The folder of a robot with Linux that was never connected, as a recorder left it."""
    folder = house.folder / "robot"
    link = RealGateway(folder)
    tally = Recorder.open(link.config(), signer=link.device.signer, background=False)
    for number in range(decisions):
        tally.decision("m@1", {"n": number}, output="go")
        while tally.poll():
            pass
    tally.close()
    link.gateway.store.close()
    return folder


def test_a_robots_own_folder_is_taken_as_if_it_had_been_pulled(house: House) -> None:
    folder = robots_own(house, 40)
    before = {path: path.read_bytes() for path in (folder / "journal").iterdir()}
    said = json.loads(house.run(folder).stdout)
    assert (said["refused"], said["receipts"], said["broken"]) == ({}, 1, [])
    assert said["segments"] >= 5
    assert said["unsigned"] == 0
    (receipt,) = (folder / "custody").iterdir()
    assert custody.parse(receipt.read_bytes()).to == house.ranges()[-1][1] >= 42
    # The copy is evidence, too.
    assert {path: path.read_bytes() for path in (folder / "journal").iterdir()} == before
    again = json.loads(house.run(folder).stdout)
    assert (again["segments"], again["refused"]) == (0, {"replayed": said["segments"]})


def test_a_journal_that_is_damaged_gives_what_can_be_read(house: House) -> None:
    folder = robots_own(house, 60)
    (file,) = (folder / "journal").glob("*.tally")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    shown = house.run(folder)
    said = json.loads(shown.stdout)
    assert shown.exit_code == 1
    assert said["segments"] > 0
    assert "the rest could not be read" in said["broken"][0]


@pytest.mark.parametrize("where", ["journal", "segments"])
def test_links_and_pipes_of_a_strangers_folder_are_not_followed(house: House, where: str) -> None:
    folder = robots_own(house, 8) if where == "journal" else house.pulled(robot_of(2))
    suffix = {"journal": "tally", "segments": "segment"}[where]
    odd = folder / where / f"00000009-9-9.{suffix}"
    odd.symlink_to("/dev/zero")
    with pytest.raises(Malformed, match="a link or a device"):
        house.run(folder)
    odd.unlink()
    os.mkfifo(odd)
    with pytest.raises(Malformed, match="a link or a device"):
        house.run(folder)


def test_receipts_go_nowhere_else(house: House, tmp_path: Path) -> None:
    robot = robot_of(2)
    folder = house.pulled(robot)
    (folder / "custody").symlink_to(tmp_path)
    with pytest.raises(Malformed, match="is a link"):
        house.run(folder)
    (folder / "custody").unlink()
    (folder / "custody").mkdir()
    other = tmp_path / "other"
    other.write_bytes(b"somebody's")
    (folder / "custody" / f"{robot.epoch.hex()}-{robot.size:012}.cbor").symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        house.run(folder)
    assert other.read_bytes() == b"somebody's"


def test_another_fleets_journal_is_not_opened(house: House, tmp_path: Path) -> None:
    folder = robots_own(house, 8)
    stranger = OTHER.device()
    (folder / "credential.cbor").write_bytes(cbor.encode(list(stranger.credential)))
    with pytest.raises(TallyError, match="robot: the enrolment is not by a fleet root"):
        house.run(folder)
    assert not (tmp_path / "site" / "gateway.sqlite").exists()


def test_what_is_wrong_is_said_by_its_file_before_anything_is_taken(house: House) -> None:
    good, bad = house.pulled(robot_of(3)), house.pulled(robot_of(3, name="robot-2"), "robot-2")
    middle, wrong = (bad / "segments" / f"{robot_of(1).epoch.hex()}-{n}.segment" for n in (2, 3))
    kept = wrong.read_bytes(), middle.read_bytes()
    wrong.write_bytes(b"nothing")
    with pytest.raises(Malformed, match=r"robot-2/segments/.*-3.segment: "):
        house.run(good, bad)
    wrong.write_bytes(kept[0])
    middle.write_bytes(bytes(262_145))
    with pytest.raises(Malformed, match=r"robot-2/segments/.*-2.segment: larger"):
        house.run(good, bad)
    assert not house.store.exists()
    lone = house.folder / "lone.segment"
    lone.write_bytes(b"")
    with pytest.raises(Malformed, match=r"lone.segment: "):
        house.run(good, lone)
    middle.write_bytes(kept[1])
    assert json.loads(house.run(good, bad).stdout)["receipts"] == 2


def test_the_source_is_any_iterator(house: House) -> None:
    robot = robot_of(3)
    pairs = ((robot.id, data) for data in [robot.hello(), *robot.segments()])
    done = importing.take_in(house.site.config, pairs)
    assert (done.messages, done.segments) == (4, 3)


def test_how_many_were_taken_is_told(house: House) -> None:
    robot = robot_of(100)
    pairs = [(robot.id, data) for data in (robot.hello(), *robot.segments())]
    told: list[int] = []
    importing.take_in(house.site.config, pairs, lambda done, _: told.append(done))
    assert told and told == sorted(set(told)) and told[-1] <= 101
