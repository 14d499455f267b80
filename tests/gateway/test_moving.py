"""F23: history that is not there. A gateway's disk is lost, devices move and are resharded, others
join in the middle: nothing is refused for want of history, and each says where its knowledge
begins. Real recorders, gateways and validators; only the lines are in memory."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from _counter import SteppingClock
from gateway.test_forward import Sending, get
from support.devices import Fleet, write_key
from support.notary import Notary
from support.site import until
from tallystick.evidence import cbor
from tallystick.evidence.keys import b64u, device_text
from tallystick.recorder import Recorder
from tallystick.recorder.memory_uplink import MemoryUplink

ACME = Fleet("acme")
BLOB = bytes(range(250)) * 3
STEPS_MAX = 5_000
MOVE_MS = 10_000  # a device answers one request in 5 s for what it has sent before
DECISIONS = 40  # each time; more than a journal keeps once they are in custody


class Robot:
    """A recorder with a small journal, on a line that can be plugged into any gateway."""

    def __init__(self, folder: Path, gateways: list[Sending]) -> None:
        folder.mkdir(parents=True)
        self.device = ACME.device(folder.name)  # the same id in every run, so the same shard
        write_key(folder / "key", self.device.signer)
        (folder / "credential.cbor").write_bytes(cbor.encode(self.device.credential))
        self.link, self.clock = MemoryUplink(), SteppingClock()
        keys = [sending.gate.key for sending in gateways]
        config = {
            "fleet": ACME.name,
            "key": f"file:{folder / 'key'}",
            "journal": str(folder / "journal"),
            "credential": str(folder / "credential.cbor"),
            "roots": [ACME.root_line],
            "gateways": [
                {"id": device_text(key.thumbprint()), "key": b64u(cbor.encode(key.cose_key()))}
                for key in keys
            ],
            "checkpoint_records": 8,
            "journal_bytes": 1 << 16,
        }
        self.tally = Recorder.open(config, uplink=self.link, clock=self.clock, background=False)
        self.number = 0
        self.plugged: Sending | None = None

    def plug(self, sending: Sending) -> None:
        """Into another gateway; what was under way is lost."""
        if self.plugged is sending:
            return
        self.link.pull()
        self.link.take()
        self.link.plug()
        self.clock.now += MOVE_MS
        self.plugged = sending
        sending.gate.know(self.device)

    def record(self, sending: Sending, count: int = DECISIONS) -> None:
        """Decisions, until the gateway has all of them in custody."""
        self.plug(sending)
        for _ in range(count):
            self.tally.decision("m@1", {"n": self.number, "blob": BLOB})
            self.number += 1
            self.tally.step()
        self.tally.flush()
        for _ in range(STEPS_MAX):
            self.clock.now += 100
            self.tally.step()
            self._exchange(sending)
            if not self.tally.backlog():
                return
        pytest.fail(f"no custody: {self.tally.health.as_dict()}, {sending.gate.refused()}")

    def _exchange(self, sending: Sending) -> None:
        up = self.link.take()
        if up:
            sending.give(self.device, *up)
        sending.gate.turn()
        down, sending.gate.link.down[:] = list(sending.gate.link.down), []
        for to, data in down:
            if to == self.device.id:
                self.link.deliver(data)

    def logs_at(self, notary: Notary) -> list[dict[str, Any]]:
        found: Any = get(notary, f"/v1/devices/{self.device.text}")
        return list(found["logs"])


class World:
    """Gateways and validators that come and go, and what must be true of them at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gateways: list[Sending] = []
        self.notaries: list[Notary] = []

    def gateway(self, name: str) -> Sending:
        made = Sending(self.folder / name, name)
        self.gateways.append(made)
        return made

    def notary(self, name: str) -> Notary:
        made = Notary(self.folder / name, ACME, name=name).start()
        self.notaries.append(made)
        return made

    def forwarded(self) -> None:
        """Every gateway sent all that it has to every validator that it knows."""
        for sending in self.gateways:
            count = len(sending.gate.ranges())
            for made in sending.forwarders:
                until(
                    lambda: sending.validator(made.name)["cursor"] == count,  # noqa: B023
                    f"{count} segments at {made.name}: {sending.gate.status()['validators']}",
                )

    def nothing_was_refused(self) -> None:
        for sending in self.gateways:
            assert set(sending.gate.refused()) <= {"replayed"}
            for row in sending.gate.status()["validators"]:  # type: ignore[attr-defined]  # rows
                assert (row["set_aside"], row["error"]) == (0, None)

    def close(self) -> None:
        for sending in self.gateways:
            sending.close()
        for notary in self.notaries:
            notary.stop()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def decided(robot: Robot, notary: Notary) -> int:
    found: Any = get(notary, f"/v1/devices/{robot.device.text}")
    return int(found["decisions"])


def late_at(sending: Sending, robot: Robot) -> list[int]:
    """From where a gateway knows the robot's log; where it is not from the start."""
    return sorted(
        row["from"]
        for row in sending.gate.began_late()
        if row["device"] == robot.device.text  # type: ignore[comparison-overlap]  # JSON
    )


def test_a_device_moves_to_another_gateway_and_back(world: World, tmp_path: Path) -> None:
    north, south = world.gateway("north"), world.gateway("south")
    lab = world.notary("lab")
    robot = Robot(tmp_path / "robot", [north, south])
    south.add(lab)
    robot.record(north)
    robot.record(south)
    # The journal has no beginning any more: south begins late, and says so.
    (began,) = late_at(south, robot)
    assert 0 < began <= DECISIONS + 3
    # The validator hears of the middle first, from south, and says where that begins.
    until(lambda: south.validator("lab")["cursor"], "what south has")
    world.forwarded()
    (log,) = robot.logs_at(lab)
    assert (log["began"], log["covered"]) == (began, log["size"] - began)
    # Back: north has no history of what south took, goes on all the same, and says so too.
    robot.record(north)
    (again,) = late_at(north, robot)
    assert began < again <= 2 * DECISIONS + 6
    robot.record(south)
    north.add(lab)
    world.forwarded()
    (log,) = robot.logs_at(lab)
    assert (log["began"], log["covered"]) == (0, log["size"])
    assert decided(robot, lab) == robot.number
    world.nothing_was_refused()


def shard(robot: Robot, gateways: list[Sending]) -> Sending:
    """By a hash of the device id."""
    return gateways[
        int.from_bytes(hashlib.sha256(robot.device.id).digest()[:8], "big") % len(gateways)
    ]


def test_devices_are_resharded_and_a_gateway_s_disk_is_lost(world: World, tmp_path: Path) -> None:
    first, second, third = (world.gateway(name) for name in ("first", "second", "third"))
    renewed = world.gateway("renewed")  # a gateway without a disk gets a new key and enrolment
    lab = world.notary("lab")
    robots = [Robot(tmp_path / f"robot-{n}", [first, second, third, renewed]) for n in range(4)]
    for sending in (first, second, third, renewed):
        sending.add(lab)
    for robot in robots:
        robot.record(shard(robot, [first, second]))
    # One more gateway: some devices are another's now.
    moved = [
        robot
        for robot in robots
        if shard(robot, [first, second, third]) is not shard(robot, [first, second])
    ]
    assert 0 < len(moved) < len(robots)
    for robot in robots:
        robot.record(shard(robot, [first, second, third]))
    world.forwarded()
    for robot in moved:
        assert late_at(shard(robot, [first, second, third]), robot)[0] > 0
    # A disk is lost, with everything on it; nothing of it was not delivered.
    first.close()
    world.gateways.remove(first)
    city = world.notary("city")  # and a validator joins
    for sending in (second, third, renewed):
        sending.add(city)
    for robot in robots:
        robot.record(shard(robot, [renewed, second, third]))
    world.forwarded()
    for robot in robots:
        (log,) = robot.logs_at(lab)
        assert (log["began"], log["covered"]) == (0, log["size"])
        assert decided(robot, lab) == robot.number == 3 * DECISIONS
        # Who joined has what the gateways that are left can tell, and says from where.
        (at_city,) = robot.logs_at(city)
        assert at_city["size"] == log["size"]
        assert at_city["covered"] <= log["size"] - at_city["began"]
    lost = [robot for robot in robots if shard(robot, [first, second, third]) is first]
    assert lost
    for robot in lost:
        (began,) = late_at(renewed, robot)
        assert 0 < began == robot.logs_at(city)[0]["began"]
    world.nothing_was_refused()
