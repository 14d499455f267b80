"""Custody receipts by a slow key, and by one that goes away: the intake goes on."""

import time
from pathlib import Path
from typing import Any

import pytest

from support.devices import Device, Fleet
from support.gateways import MemoryGateway
from tallystick.evidence.errors import KeyDriverError
from tallystick.gateway import limits

ACME = Fleet("acme")
DEVICES = 24


@pytest.fixture
def gateway(tmp_path: Path) -> MemoryGateway:
    return MemoryGateway(tmp_path, ACME)


def robots(gateway: MemoryGateway, count: int) -> list[Device]:
    made = [ACME.device(f"robot-{number}") for number in range(count)]
    for robot in made:
        robot.record(2)
    gateway.know(*made)
    return made


class SlowKey:
    """The gateway's key at a chip's pace, or away."""

    def __init__(self, gateway: MemoryGateway, monkeypatch: pytest.MonkeyPatch) -> None:
        self.signed = 0
        self.away = False
        self.takes_s = 0.0
        sign = gateway.signing.sign

        def slowly(*arguments: Any) -> tuple[bytes, bytes]:
            if self.away:
                raise KeyDriverError("no-token", "pulled")
            time.sleep(self.takes_s)
            self.signed += 1
            return sign(*arguments)

        monkeypatch.setattr(gateway.signing, "sign", slowly)


def receipted(gateway: MemoryGateway, robot: Device) -> int:
    return max((receipt.to for receipt in gateway.custody(robot)), default=0)


def until_receipted(gateway: MemoryGateway, robots: list[Device]) -> None:
    end_s = time.monotonic() + 60
    while any(receipted(gateway, robot) < robot.size for robot in robots):
        assert time.monotonic() < end_s
        gateway.worker.turn(0.05)


def test_a_slow_key_does_not_stop_the_intake(
    gateway: MemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RECEIPTS_S_MAX", 0.1)
    key = SlowKey(gateway, monkeypatch)
    key.takes_s = 0.05  # all of them: 1.2 s
    made = robots(gateway, DEVICES)
    for robot in made:
        gateway.send(robot, *robot.segments())
    gateway.worker.turn(0)
    assert 0 < key.signed < DEVICES / 2
    # Records are taken and acknowledged while receipts for the first ones still wait.
    for robot in made:
        robot.record(2)
        gateway.send(robot, robot.segments()[-1])
    gateway.worker.turn(0)
    assert len(gateway.link.acked) == 2 * DEVICES
    assert key.signed < DEVICES
    until_receipted(gateway, made)
    # What came meanwhile joined the receipts that were owed.
    assert key.signed < 2 * DEVICES


def test_receipts_follow_when_the_key_is_back(
    gateway: MemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "KEY_RETRY_S", 0.1)
    key = SlowKey(gateway, monkeypatch)
    key.away = True
    made = robots(gateway, 3)
    for robot in made:
        gateway.give(robot, *robot.segments())
    assert len(gateway.link.acked) == 3 and not key.signed
    assert not gateway.worker._receipts.due  # not asked again at once
    key.away = False
    until_receipted(gateway, made)  # and nobody had to send again
    assert key.signed == len(made)


def test_nothing_is_receipted_that_was_rolled_back(
    gateway: MemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is owed is of committed records; a rollback forgets it, for its tracks may say more."""
    monkeypatch.setattr(limits, "KEY_RETRY_S", 0.0)
    key = SlowKey(gateway, monkeypatch)
    [robot] = robots(gateway, 1)
    key.away = True
    gateway.give(robot, *robot.segments())
    kept = robot.size
    robot.record(2)
    finish = gateway.worker._applier.finish

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gateway.worker._applier, "finish", full)
    gateway.worker._stop.set()  # tried once
    gateway.send(robot, robot.segments()[-1])
    key.away = False
    gateway.worker.turn(0)
    assert receipted(gateway, robot) <= kept
    monkeypatch.setattr(gateway.worker._applier, "finish", finish)
    gateway.give(robot, robot.segments()[-1])
    until_receipted(gateway, [robot])


def test_a_receipt_waits_for_what_is_here_of_its_device_and_not_for_long(
    gateway: MemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GROUP_MESSAGES_MAX", 2)
    key = SlowKey(gateway, monkeypatch)
    busy, other = robots(gateway, 2)
    for _ in range(3):
        busy.record(1)
    segments = busy.segments()
    gateway.send(other, *other.segments())
    gateway.send(busy, *segments)
    gateway.worker.turn(0)  # one segment of each
    assert (receipted(gateway, other), receipted(gateway, busy)) == (other.size, 0)
    assert gateway.worker._receipts.due
    gateway.worker.turn(0)
    assert receipted(gateway, busy) == 0
    gateway.worker.turn(0)  # its last one
    assert receipted(gateway, busy) == busy.size
    assert key.signed == 2
    assert not gateway.worker._receipts._since_s  # the next one's time begins anew
    # Not for ever: more of it may always be here.
    monkeypatch.setattr(limits, "RECEIPT_JOINS_S_MAX", 0.0)
    for _ in range(4):
        busy.record(1)
    gateway.send(busy, *busy.segments()[-4:])
    gateway.worker.turn(0)
    assert receipted(gateway, busy) == busy.size - 2


def test_no_receipt_waits_for_what_a_stopped_store_does_not_take(
    gateway: MemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    [robot] = robots(gateway, 1)
    gateway.send(robot, *robot.segments())
    robot.record(1)
    limit = gateway.worker.gauge.bytes_max
    with monkeypatch.context() as patched:
        more = robot.segments()[-1]
        patched.setattr(gateway.link, "ack", lambda _group: gateway.send(robot, more))
        patched.setattr(gateway.worker, "_give_receipts", lambda: None)
        gateway.worker.turn(0)
    assert receipted(gateway, robot) == 0
    gateway.worker.gauge.bytes_max = 1
    gateway.worker.turn(0)
    assert len(gateway.inbox) == 1
    assert receipted(gateway, robot) == robot.size - 1
    gateway.worker.gauge.bytes_max = limit


def test_who_stops_gives_the_receipts_that_waited(
    gateway: MemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GROUP_MESSAGES_MAX", 1)
    [robot] = robots(gateway, 1)
    size = robot.size
    robot.record(1)
    gateway.send(robot, *robot.segments())

    def stop(_most: int) -> list[tuple[bytes, bytes]]:
        assert receipted(gateway, robot) == 0
        gateway.worker._stop.set()
        return []

    monkeypatch.setattr(gateway.down_queue, "take", stop)
    gateway.worker.run()
    assert receipted(gateway, robot) == size
