"""The ATECC608's driver on a virtual chip: whatever goes wrong on wires and in the chip."""

import itertools
import time
from typing import Any

import pytest

from support.chips608 import (
    Interference,
    check,
    key_on,
    our_chip,
    poll_to_the_end,
    reason_of,
)
from support.wire608 import Wire
from tallystick.evidence.errors import KeyDriverError
from tallystick.hw.atecc608 import AteccKey
from tallystick.hw.atecc608_chip import OPERATION_TRIES, crc16
from tallystick.hw.virtual_atecc608 import Tap, VirtualAtecc608


@pytest.fixture
def chip() -> VirtualAtecc608:
    return our_chip()


@pytest.fixture
def key(chip: VirtualAtecc608) -> AteccKey:
    return key_on(chip)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_transfers_that_nobody_acknowledges_are_repeated(
    key: AteccKey, chip: VirtualAtecc608, count: int
) -> None:
    for skipped in range(8):
        tap = Interference(chip)
        key.chip.i2c = tap
        left = itertools.count()

        def touch(
            _kind: str, address: int, data: bytes, left: Any = left, skipped: int = skipped
        ) -> bytes:
            if address and skipped <= next(left) < skipped + count:
                raise OSError(5)
            return data

        tap.touch = touch
        check(key)


@pytest.mark.parametrize("count", [1, 2])
def test_damaged_answers_are_read_again(key: AteccKey, chip: VirtualAtecc608, count: int) -> None:
    chip.faults.crc = count
    check(key)
    chip.faults.crc = count
    assert key.counter().increment() == 1


def test_noise_without_end_is_an_error_in_bounded_time(
    key: AteccKey, chip: VirtualAtecc608
) -> None:
    bus = Interference(chip)
    key.chip.i2c = bus

    def touch(kind: str, _address: int, data: bytes) -> bytes:
        noisy = kind == "R" and len(data) > 4
        return data[:-1] + bytes((data[-1] ^ 1,)) if noisy else data

    bus.touch = touch
    with pytest.raises(KeyDriverError) as raised:
        key.sign(b"decision")
    assert reason_of(raised) == "bus-noise"
    bus.touch = lambda _kind, _address, data: data
    check(key)


@pytest.mark.parametrize("status", [0xFF, 0xEE])
def test_a_command_that_did_not_arrive_whole_is_sent_again(
    key: AteccKey, chip: VirtualAtecc608, status: int
) -> None:
    bus = Interference(chip)
    key.chip.i2c = bus
    struck = 0

    def touch(kind: str, address: int, data: bytes) -> bytes:
        nonlocal struck
        if kind == "W" and address and data[0] == 3 and struck < 2:
            struck += 1
            if status == 0xFF:
                return data[:-1] + bytes((data[-1] ^ 0x80,))
            chip._woke -= 1.299  # the watchdog is near
            chip._time_scale = 1.0
        else:
            chip._time_scale = 0.0
        return data

    bus.touch = touch
    check(key)
    assert struck == 2


def test_power_lost_at_any_moment_of_a_signature(key: AteccKey, chip: VirtualAtecc608) -> None:
    key.begin(b"decision")
    polls = transfers = 0
    tap = Tap(chip)
    key.chip.i2c = tap
    while not key.poll():
        polls += 1
        transfers = len(tap.transfers)
        key.chip.rest()
    key.signature()
    for cut in range(1, transfers):
        tap.transfers.clear()
        key.begin(b"decision")
        lost = False
        while not key.poll():
            if not lost and len(tap.transfers) >= cut:
                chip.power(on=True)  # off, and on again
                lost = True
            key.chip.rest()
        key.public_key().verify(key.signature(), b"decision")


def test_the_watchdog_between_two_commands(key: AteccKey, chip: VirtualAtecc608) -> None:
    """The digest is gone when the chip slept: it is loaded again."""
    bus = Interference(chip)
    key.chip.i2c = bus
    slept = 0

    def touch(kind: str, address: int, data: bytes) -> bytes:
        nonlocal slept
        if kind == "W" and address and data[0] == 2 and slept < OPERATION_TRIES - 1:
            slept += 1
            return b"\x01"
        return data

    bus.touch = touch
    check(key)
    assert slept == OPERATION_TRIES - 1
    slept = -OPERATION_TRIES
    with pytest.raises(KeyDriverError) as raised:
        key.sign(b"decision")
    assert reason_of(raised) == "chip-refused"


def test_unplugged_in_the_middle_and_back(key: AteccKey, chip: VirtualAtecc608) -> None:
    key.begin(b"decision")
    for _ in range(3):
        key.poll()
        key.chip.rest()
    chip.faults.unplugged = True
    began = time.monotonic()
    with pytest.raises(KeyDriverError) as raised:
        poll_to_the_end(key)
    assert reason_of(raised) in ("no-chip", "chip-lost")
    assert time.monotonic() - began < 30
    with pytest.raises(KeyDriverError) as raised:
        key.poll()
    assert reason_of(raised) == "not-signing"
    chip.faults.unplugged = False
    chip.power(on=True)
    check(key)


def test_a_chip_that_hangs_is_given_up_and_comes_back_with_power(
    key: AteccKey, chip: VirtualAtecc608
) -> None:
    chip.faults.stuck = True
    with pytest.raises(KeyDriverError) as raised:
        key.sign(b"decision")
    assert reason_of(raised) in ("no-chip", "chip-lost")
    chip.power(on=True)
    check(key)


def test_a_bus_that_hangs_is_named(key: AteccKey, chip: VirtualAtecc608) -> None:
    bus = Interference(chip)
    key.chip.i2c = bus

    def touch(_kind: str, _address: int, _data: bytes) -> bytes:
        raise OSError(110)  # ETIMEDOUT

    bus.touch = touch
    with pytest.raises(KeyDriverError, match="pull-ups") as raised:
        key.sign(b"decision")
    assert reason_of(raised) == "bus-stuck"


def test_a_chip_that_somebody_left_awake_or_busy(key: AteccKey, chip: VirtualAtecc608) -> None:
    wire = Wire(chip)
    wire.wake()
    check(key)
    wire.wake()
    wire.send(0x16, 0x43, 0, bytes(32))
    check(key)


def test_a_chip_that_failed_its_own_test_says_so(key: AteccKey, chip: VirtualAtecc608) -> None:
    bus = Interference(chip)
    key.chip.i2c = bus
    failed = b"\x04\x07"
    bus.touch = lambda kind, _, data: (
        failed + crc16(failed) if kind == "R" and len(data) == 4 else data
    )
    with pytest.raises(KeyDriverError) as raised:
        key.sign(b"decision")
    assert reason_of(raised) == "chip-broken"
