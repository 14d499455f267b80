"""A04: a gateway withholds, delays, reorders. What it kept back shows at the validators, and the
device, which got no receipt, keeps all of it. That order alone changes nothing: test_order.py."""

from pathlib import Path

import pytest

from gateway.test_forward import Sending
from gateway.test_moving import Robot
from support.devices import Device, Fleet
from support.notary import Notary
from support.validating import Gateway, Room, handover
from tallystick.evidence import notarised
from tallystick.evidence.kinds import HELLO
from tallystick.evidence.root import format_root
from tallystick.validator import answers, queries
from tallystick.verify import Policy, check_evidence, load_evidence
from tallystick.verify.proving import Prosecution
from validator.test_own_logs import copy_of

ACME = Fleet("acme")
STEPS = 4_000  # of 100 ms: longer than a device ever waits before it sends again
INTERVAL_S = 60  # what support.devices enrols


def log_at(room: Room, device: Device) -> answers.DeviceLog:
    with room.sequencer.store.read() as connection:
        (log,) = queries.Devices(room.sequencer.config.roots).one(connection, device.id).logs
    return log


def whole(log: answers.DeviceLog) -> tuple[int, int, int, int, int, bool]:
    return log.size, log.began, log.covered, log.claims, log.claims_signed, log.complete


@pytest.mark.databases
def test_a_stretch_that_is_kept_back_is_a_hole_that_the_validator_shows(
    room: Room, fleet: Fleet
) -> None:
    giver, receiver = fleet.device("a"), fleet.device("b")
    giver.record(3)
    handover(giver, receiver, "order-1")
    giver.record(2)
    keeping, honest = Gateway(fleet, "keeping"), Gateway(fleet, "honest")
    # It leaves the claim out: of its own log too, or as a hash of it.
    keeping.take(giver.segment(0, 1), giver.segment(2, 3, edge=True))
    assert room.send(keeping.batch(devices=[giver, receiver])).refused == []
    room.settle()
    # What is covered, and that the device signed for one claim more than is here.
    assert whole(log_at(room, giver)) == (7, 0, 6, 0, 1, False)
    # Hashes in the place of records prove the tree, and that a claim is not here.
    keeping.take(giver.segment(1, 2, elide=True))
    assert room.send(keeping.batch(2)).refused == []
    assert whole(log_at(room, giver)) == (7, 0, 7, 0, 1, False)
    # Whoever brings it later, one other way is enough.
    honest.take(giver.segment(1, 2, edge=True), receiver.segment())
    assert room.send(honest.batch(devices=[giver, receiver])).refused == []
    room.settle()
    assert whole(log_at(room, giver)) == (7, 0, 7, 1, 1, True)
    assert room.states() == {"matched": 1}


@pytest.mark.databases
def test_heads_that_are_delayed_are_a_missed_interval_in_the_log(room: Room, fleet: Fleet) -> None:
    late, prompt = fleet.device("late"), fleet.device("prompt")
    keeping, honest = Gateway(fleet, "keeping"), Gateway(fleet, "honest")
    began = {"late": 0, "prompt": 0}
    for step in range(7):
        for device, gateway, name in ((late, keeping, "late"), (prompt, honest, "prompt")):
            device.record(1)
            gateway.take(device.segment(len(device.stretches) - 1))
            if name == "late" and 1 <= step < 6:
                continue  # made in time, kept back for five minutes
            data = gateway.batch(began[name], devices=[device])
            assert room.send(data).refused == []
            began[name] = len(gateway.items)
        room.clock.now_ms += (INTERVAL_S - 5) * 1000
    keys = room.sequencer.log.keys
    policy = Policy.parse(
        f'roots = ["{fleet.root_line}"]\n[[validators.accept]]\norganisation = "x"\n'
        f'key = "{format_root(keys.name, keys.signer.public_key())}"\n'
    )
    proven = [
        one
        for _, file in Prosecution([copy_of(room)], []).all()
        for one in check_evidence(load_evidence(file.encode()), policy).proven
    ]
    assert [(one.name, one.about[0], one.accused) for one in proven] == [
        ("missed interval", late.id, ())
    ]
    assert "who kept it back" in " ".join(proven[0].not_shown)
    # Nothing of it is lost, and the order is the device's.
    assert whole(log_at(room, late))[:3] == (late.size, 0, late.size)


def turned(robot: Robot, sending: Sending, *, takes: bool) -> None:
    for _ in range(STEPS):
        robot.clock.now += 100
        robot.tally.step()
        if not takes:
            # It greets, and drops the rest.
            robot.link.up[:] = [message for message in robot.link.up if message[1] == HELLO]
        robot._exchange(sending)
        if robot.tally.health.resent and not takes:
            return


def told(robot: Robot) -> list[int]:
    """The sizes of which the device was told that a validator has them."""
    return [
        notarised.parse(message).size
        for name, message in robot.tally.received
        if name == "notarised"
    ]


def test_the_device_sees_that_nobody_has_it(tmp_path: Path) -> None:
    sending = Sending(tmp_path / "gateway")
    notary = Notary(tmp_path / "notary", ACME).start()
    robot = Robot(tmp_path / "robot", [sending])
    robot.plug(sending)
    for number in range(40):
        robot.tally.decision("m@1", {"n": number})
    robot.tally.flush()
    # It takes nothing: no receipt; the journal keeps all, and sends it again.
    turned(robot, sending, takes=False)
    assert (robot.tally.health.custody, robot.tally.health.resent > 0) == (0, True)
    assert robot.tally.backlog() >= 40
    # It takes custody and tells no validator: the device has its promise, and no validator's.
    turned(robot, sending, takes=True)
    assert robot.tally.backlog() == 0
    assert robot.tally.received == []
    sending.add(notary)
    sending.sent(len(sending.gate.ranges()))
    turned(robot, sending, takes=True)
    assert max(told(robot)) == sending.gate.tracks()[0][1] > 40
    sending.close()
    notary.stop()
