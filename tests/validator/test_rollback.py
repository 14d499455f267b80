"""A02: a real recorder's flash image is put back, and who finds it out.

Older than a counter period: the device itself, at boot (tests/recorder/test_counter.py). Within one
period the counter cannot tell: a gateway or validator that holds a later head has the proof.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest

from _counter import FileCounter, SteppingClock, with_counter
from support import station as stations
from support.devices import Device, Fleet
from support.gateways import MemoryGateway
from support.station import Station, read_credential
from support.validating import Gateway, Room
from tallystick.evidence import checkpoint, segment
from tallystick.evidence.cbor import encode
from tallystick.hw.signer import Signer
from tallystick.hw.software_key import FileKey
from tallystick.recorder import Recorder
from tallystick.recorder.memory_uplink import MemoryUplink

MINUTE_MS = 60_000
SEGMENT = 13


class Robot:
    """A recorder whose key counts, enrolled by a fleet that validators know."""

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        self.fleet = stations.Fleet(folder)
        self.config: dict[str, Any] = self.fleet.device("one", checkpoint_records=2)
        self.key = Signer.from_uri(self.config["key"])
        assert isinstance(self.key, FileKey)
        credential = fleet.enrol(self.key)
        Path(self.config["credential"]).write_bytes(encode(credential))
        self.device = Device(fleet, self.key, credential)
        self.journal = Path(self.config["journal"])
        self.chip = FileCounter(str(folder / "counter"))
        self.number = 0

    def station(self) -> Station:
        """A gateway's stand-in that knows nothing yet."""
        return Station(self.fleet, read_credential(self.config))

    def life(self, minutes: int, station: Station) -> list[bytes]:
        """A boot and some minutes; the segments that left the device."""
        link, clock = MemoryUplink(), SteppingClock()
        signer = with_counter(Signer.from_uri(self.config["key"]), self.chip)
        tally = Recorder.open(
            self.config, uplink=link, signer=signer, clock=clock, background=False
        )
        sent = []
        for _ in range(minutes):
            self.number += 1
            tally.decision("m@1", {"n": self.number})
            clock.now += MINUTE_MS
            for _ in range(30):
                tally.step()
                for message in link.take():
                    if message[1] == SEGMENT:
                        sent.append(message)
                    for answer in station.answer(message):
                        link.deliver(answer)
        tally.close()
        self.epoch = tally.epoch
        self.faults = tally.health.faults
        return sent

    def image(self) -> Path:
        target = self.journal.parent / "image"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.journal, target)
        return target

    def put_back(self, image: Path) -> None:
        shutil.rmtree(self.journal)
        shutil.copytree(image, self.journal)


@pytest.fixture
def robot(tmp_path: Path, fleet: Fleet) -> Robot:
    return Robot(tmp_path / "robot", fleet)


def within_a_period(robot: Robot) -> tuple[list[bytes], list[bytes]]:
    """Segments of the true history, and of an image that went on within the same period."""
    known = robot.station()
    true = robot.life(4, known)
    image = robot.image()
    true += robot.life(6, known)
    robot.put_back(image)
    assert robot.chip.read() == 0
    other = robot.life(9, robot.station())
    assert robot.faults == {}, "nothing on the device could tell"
    assert {segment.parse(data).epoch for data in (*true, *other)} == {robot.epoch}
    return true, other


def test_within_a_period_a_validator_has_the_proof(room: Room, fleet: Fleet, robot: Robot) -> None:
    true, other = within_a_period(robot)
    one, two = Gateway(fleet, "one"), Gateway(fleet, "two")
    one.take(*true)
    assert room.send(one.batch(devices=[robot.device])).refused == []
    assert room.rows("SELECT suspect FROM identities WHERE subject = 0") == [(None,)]
    two.take(*other)
    refused = room.send(two.batch(devices=[robot.device])).refused
    assert "fork" in {reason for _, reason in refused}
    assert room.rows("SELECT suspect FROM identities WHERE subject = 0") == [("fork",)]
    ((ours, theirs, proof),) = room.rows("SELECT ours, theirs, proof FROM forks LIMIT 1")
    assert checkpoint.parse(ours).epoch == checkpoint.parse(theirs).epoch == robot.epoch
    # Two heads of one size are a proof by themselves.
    assert proof is not None or checkpoint.parse(ours).size == checkpoint.parse(theirs).size


def test_within_a_period_a_gateway_tells(tmp_path: Path, fleet: Fleet, robot: Robot) -> None:
    true, other = within_a_period(robot)
    gate = MemoryGateway(tmp_path, fleet)
    gate.know(robot.device)
    gate.give(robot.device, *true)
    assert gate.status()["suspect"] == []
    gate.give(robot.device, *other)
    assert gate.status()["suspect"] == [{"device": robot.device.text, "reason": "fork"}]


def test_an_older_image_leaves_the_epoch_and_nobody_is_suspect(
    room: Room, fleet: Fleet, robot: Robot
) -> None:
    known = robot.station()
    sent = robot.life(20, known)
    first = robot.epoch
    image = robot.image()
    sent += robot.life(20, known)
    assert robot.chip.read() >= 2
    robot.put_back(image)
    # By way of a gateway that knows nothing: only the counter tells.
    after = robot.life(5, robot.station())
    assert robot.faults == {"counter:rollback": 1}
    assert robot.epoch != first
    gateway = Gateway(fleet)
    gateway.take(*sent, *after)
    assert room.send(gateway.batch(devices=[robot.device])).refused == []
    assert room.rows("SELECT suspect FROM identities WHERE subject = 0") == [(None,)]
    frozen = dict(room.rows("SELECT epoch, frozen_at FROM logs"))
    # Left at the newest size that the validator has, though the image knew a smaller one only.
    assert frozen[first] == max(segment.parse(data).to for data in sent)
    assert frozen[robot.epoch] is None


def test_a_lost_journal_is_lost_and_not_suspect(room: Room, fleet: Fleet, robot: Robot) -> None:
    """F24: the chip's key and counter survive."""
    known = robot.station()
    sent = robot.life(40, known)
    first = robot.epoch
    shutil.rmtree(robot.journal)
    sent += robot.life(5, known)
    assert robot.epoch != first
    assert robot.faults == {}
    gateway = Gateway(fleet)
    gateway.take(*sent)
    assert room.send(gateway.batch(devices=[robot.device])).refused == []
    assert room.rows("SELECT suspect FROM identities WHERE subject = 0") == [(None,)]
