"""Holds that reach devices: a recorder, the real gateway's store, and an operator's command."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from recorder.test_hold import DAY_MS, Site
from support.site import Site as Folder
from support.site import until
from tallystick.evidence import devicehold as wire
from tallystick.evidence.keys import device_text
from tallystick.evidence.limits import HOLD_MS_MAX
from tallystick.gateway import devicehold, holds, limits
from tallystick.gateway.devicehold import Teller, told
from tallystick.gateway.pagedevices import Fleet, row_of
from tallystick.gateway.service import Gateway
from tallystick.gateway.store import operator_write
from tallystick.tools.hold import hold


class House:
    """A robot and its gateway; `turn` is the gateway's thread."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.site = Site(folder / "robot", monkeypatch)
        self.gate = self.site.gateway
        self.sent: list[tuple[bytes, bytes]] = []
        self.now_ms = self.site.now_ms()
        self.teller = self.new()

    def new(self) -> Teller:
        return Teller(self.gate.store, self.gate.signing, self._send)

    def _send(self, messages: list[tuple[bytes, bytes]]) -> None:
        self.sent += messages

    def begin(self, name: str = "case-7", devices: str = holds.ALL) -> None:
        with self.gate.store.write() as connection:
            holds.begin(connection, name, "", devices)

    def end(self, name: str = "case-7") -> None:
        with self.gate.store.write() as connection:
            holds.end(connection, name)

    def turn(self, *, heard: bool = True) -> list[wire.DeviceHold]:
        """What was sent, and (heard) taken by the robot, whose log came back."""
        self.sent.clear()
        while self.teller.turn(self.now_ms):
            pass
        for _, data in self.sent:
            if heard:
                self.site.robot.link.deliver(data)
        self.site.robot.work()
        self.site.settle()
        self.teller.turn(self.now_ms)
        return [wire.parse(data) for _, data in self.sent]

    def shown(self) -> str | None:
        """What the page says of the robot."""
        fleet = Fleet(self.gate.roots)
        reader = self.gate.store.reader()
        fleet.read(reader)
        reader.close()
        return row_of(fleet.known[self.site.robot.link.device.id], []).hold

    def told(self) -> dict[str, Any]:
        reader = self.gate.store.reader()
        found = told(reader)
        reader.close()
        return found


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    return House(tmp_path, monkeypatch)


def test_it_reaches_the_device_and_is_known_to(house: House) -> None:
    assert house.turn() == []
    house.begin()
    (sent,) = house.turn()
    assert sent.until_ms == house.now_ms + HOLD_MS_MAX
    assert (house.told()["held"], house.told()["waiting"]) == (1, 0)
    assert house.shown() == "held"
    house.site.record(60)
    assert house.site.first() == 0
    # Nothing more to say, now or after a restart.
    house.now_ms += DAY_MS
    house.teller = house.new()
    assert house.turn() == []
    house.end()
    (sent,) = house.turn()
    assert sent.until_ms is None
    assert house.site.first() > 0
    assert house.told() == {"held": 0, "released": 1, "waiting": 0, "waiting_for": []}


def test_it_is_said_until_it_is_known(house: House) -> None:
    house.begin()
    assert len(house.turn(heard=False)) == 1
    text = house.site.robot.link.device.text
    assert house.told()["waiting_for"] == [{"device": text, "to": "hold"}]
    assert house.shown() == "to hold"
    assert house.turn(heard=False) == []
    house.now_ms += limits.HOLD_AGAIN_MS
    (again,) = house.turn(heard=False)
    house.teller = house.new()
    house.now_ms += limits.HOLD_AGAIN_MS
    (third,) = house.turn()
    assert third.serial == again.serial
    assert house.told()["waiting"] == 0


def test_it_waits_for_a_way_to_the_device(house: House) -> None:
    away = {house.site.robot.link.device.id}
    house.teller = Teller(
        house.gate.store, house.gate.signing, house._send, lambda device: device not in away
    )
    house.begin()
    assert house.turn() == []
    away.clear()
    # At once, though it was due before.
    assert len(house.turn()) == 1
    assert house.told()["waiting"] == 0


def test_a_clock_that_was_set_back_keeps_nobody_waiting(house: House) -> None:
    house.begin()
    (first,) = house.turn(heard=False)
    house.now_ms -= DAY_MS
    (again,) = house.turn(heard=False)
    assert again.serial == first.serial
    assert house.turn(heard=False) == []


def test_it_is_renewed_while_it_goes_on(house: House) -> None:
    house.begin()
    (first,) = house.turn()
    house.now_ms += HOLD_MS_MAX // 2 - DAY_MS
    assert house.turn() == []
    house.now_ms += 2 * DAY_MS
    (second,) = house.turn()
    assert second.serial > first.serial
    assert second.until_ms == house.now_ms + HOLD_MS_MAX
    assert house.told()["held"] == 1


def test_some_devices_or_none(house: House) -> None:
    house.begin("gateway", "")
    assert house.turn() == []
    other = house.site.robot.link.fleet.device("robot-2")
    house.gate.know(other)
    house.begin("one", other.text)
    (sent,) = house.turn(heard=False)
    assert sent.device == other.id
    house.begin("all")
    assert {one.device for one in house.turn()} == {house.site.robot.link.device.id}
    # The end of one hold does not end another.
    house.end("all")
    assert [one.until_ms for one in house.turn()] == [None]
    assert house.told()["waiting_for"] == [{"device": other.text, "to": "hold"}]


def test_only_the_device_itself_says_that_it_knows(house: House) -> None:
    house.begin()
    house.turn(heard=False)
    # What it says of another serial number is no answer, nor what is said of another's key.
    house.site.hold(1)
    house.site.settle()
    house.teller.turn(house.now_ms)
    assert house.told()["waiting"] == 1
    kid = house.gate.key.kid()
    reader = house.gate.store.reader()
    stored = [row[0] for row in reader.execute("SELECT data FROM segments ORDER BY at")]
    reader.close()
    assert [devicehold.says(data, kid, 1) for data in stored].count(True) == 1
    assert not any(devicehold.says(data, kid, 2) for data in stored)
    assert not any(devicehold.says(data, b"stranger", 1) for data in stored)
    assert not devicehold.says(b"\x64hold", kid, 1)


def test_a_device_that_lost_its_journal_is_told_again(house: House, tmp_path: Path) -> None:
    house.begin()
    house.turn()
    assert house.told()["held"] == 1
    robot = house.site.robot.link.device
    again = robot.clone()
    again.epoch = bytes(8)
    again.record(3)
    house.gate.give(robot, *again.segments())
    assert house.told()["held"] == 0
    (sent,) = house.turn(heard=False)
    assert sent.device == robot.id
    # What it said in the epoch before says nothing of this one.
    assert house.told()["waiting"] == 1


def test_all_answers_are_heard_in_one_go(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HOLDS_AT_ONCE", 2)
    house.begin()
    house.turn(heard=False)
    for _ in range(9):
        house.site.record(1)
        house.site.settle()
    house.site.robot.link.deliver(house.sent[0][1])
    house.site.robot.work()
    house.site.settle()
    turns = 0
    while house.teller.turn(house.now_ms):
        turns += 1
    assert turns > 2
    assert house.told()["held"] == 1


def test_holds_may_name_more_than_a_statement_has_variables(house: House) -> None:
    robot = house.site.robot.link.device
    with house.gate.store.write() as connection:
        for number in range(34):
            ids = [device_text((number * 1_000 + one).to_bytes(32, "big")) for one in range(1_000)]
            holds.begin(connection, f"case-{number}", "", " ".join(ids))
    holds_robot = house.turn()
    assert holds_robot == []
    house.begin("one", robot.text)
    assert len(house.turn()) == 1
    house.end("one")
    assert [one.until_ms for one in house.turn()] == [None]


def test_a_running_gateway_tells(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PRUNE_LOOK_S", 0.05)
    folder = Folder(tmp_path / "site", house.site.robot.link.fleet, 1)
    robot = house.site.robot.link.device
    gateway = Gateway(folder.config)
    sent: list[tuple[bytes, bytes]] = []

    def publish(device: bytes, data: bytes) -> bool:
        sent.append((device, data))
        return True

    monkeypatch.setattr(gateway.broker, "publish", publish)
    gateway.start()
    try:
        gateway.worker.add_credential(list(robot.credential))
        with operator_write(folder.config.store) as connection:
            holds.begin(connection, "case-7", "", holds.ALL)

        until(lambda: folder.status()["device_holds"]["waiting"] == 1, "what is to be told")
        assert not sent

        def told_once_connected() -> object:
            gateway.broker.connected = True
            return sent

        until(told_once_connected, "the statement")
        assert folder.status()["device_holds"]["waiting"] == 1
    finally:
        gateway.stop()
    (device, data) = sent[0]
    assert (device, wire.parse(data).verify(gateway.signing.key).device) == (robot.id, robot.id)


def test_the_command_says_whom_it_reaches(house: House, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "site", house.site.robot.link.fleet, 1)
    text = folder.path.read_text().replace('"gateway.sqlite"', f'"{house.gate.store.path}"')
    folder.path.write_text(text)

    def run(*words: str) -> Result:
        return CliRunner().invoke(hold, [*words, "--config", str(folder.path)])

    robot = house.site.robot.link.device
    assert "1 devices are told" in run("case-7", "--device", robot.text).output
    assert "all devices are told" in run("case-8").output
    assert "no device is told" in run("case-9", "--gateway-only").output
    house.turn(heard=False)
    assert f"not heard of yet, to hold: {robot.text}" in run("--list").output
    house.now_ms += limits.HOLD_AGAIN_MS
    house.turn()
    found = json.loads(run("--list", "--json").output)
    assert [row["devices"] for row in found["holds"]] == [[robot.text], "all", []]
    assert found["devices"]["held"] == 1
    assert run("x", "--device", robot.text, "--gateway-only").exit_code == 2
    assert run("list").exit_code != 0
