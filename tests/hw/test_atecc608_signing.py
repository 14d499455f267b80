"""The ATECC608's driver on a virtual chip: signatures in phases, and whatever goes wrong."""

import itertools
import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest

from support.chips608 import SECRET, Interference, key_on, our_chip, our_eeprom, set_up
from support.wire608 import Wire
from tallystick.evidence.errors import KeyDriverError, Unverified
from tallystick.evidence.keys import ES256, from_raw
from tallystick.hw import _software, atecc608_chip
from tallystick.hw.atecc608 import AteccKey
from tallystick.hw.atecc608_chip import JOBS_MAX, OPERATION_TRIES, crc16
from tallystick.hw.atecc608_counter import LIMIT
from tallystick.hw.signer import Signer
from tallystick.hw.software_key import FileKey
from tallystick.hw.virtual_atecc608 import Tap, VirtualAtecc608
from tallystick.hw.virtual_atecc608.server import serving

# One answer, a word of rest and the next wake pulse, or a wake answer and the longest command.
TRANSFERS_A_POLL = 3
BYTES_A_POLL = 160
SLOW_MS = (115, 220, 665)
EXPECTED = _software.public_raw(ES256, SECRET)


@pytest.fixture
def chip() -> VirtualAtecc608:
    return our_chip()


@pytest.fixture
def key(chip: VirtualAtecc608) -> AteccKey:
    return key_on(chip)


def reason_of(raised: pytest.ExceptionInfo[KeyDriverError]) -> str:
    return raised.value.reason


def check(key: AteccKey, message: bytes = b"decision") -> None:
    key.public_key().verify(key.sign(message), message)


def poll_to_the_end(work: Any) -> None:
    while not work.poll():
        time.sleep(0.001)


def test_signatures_verify_and_s_is_low(key: AteccKey) -> None:
    assert key.public_key() == from_raw(ES256, EXPECTED)
    for number in range(12):  # half of the chip's own have a high s, which verify() refuses
        check(key, b"decision %d" % number)


@pytest.mark.parametrize("divider", [0, 1, 2])
def test_polls_are_short_and_leave_a_busy_chip_alone(divider: int) -> None:
    bits = {0: 0x00, 1: 0x28, 2: 0x68}[divider]
    tap = Tap(our_chip(our_eeprom(divider_bits=bits), time_scale=1.0))
    key = key_on(tap)
    assert key.chip.divider == divider
    tap.transfers.clear()
    key.begin(b"decision")
    assert not tap.transfers  # begin() itself asks nothing of the bus
    sent = looked = 0.0
    worst = 0.0
    while True:
        before = len(tap.transfers)
        began = time.monotonic()
        done = key.poll()
        took = time.monotonic() - began
        new = tap.transfers[before:]
        assert len(new) <= TRANSFERS_A_POLL
        assert sum(len(data) for _, _, data in new) <= BYTES_A_POLL
        worst = max(worst, took)
        if any(data[2:3] == b"\x41" for kind, _, data in new if kind == "W"):
            sent = time.monotonic()
        elif sent and new and not looked:
            looked = time.monotonic()
        if done:
            break
    assert looked - sent >= SLOW_MS[divider] / 2000 - 0.002
    assert time.monotonic() - sent >= SLOW_MS[divider] / 1000 * 0.9
    assert worst < 0.05
    key.public_key().verify(key.signature(), b"decision")


def test_phases_are_kept_apart(key: AteccKey) -> None:
    for call, reason in ((key.poll, "not-signing"), (key.signature, "not-ready")):
        with pytest.raises(KeyDriverError) as raised:
            call()
        assert reason_of(raised) == reason
    key.begin(b"one")
    with pytest.raises(KeyDriverError) as raised:
        key.begin(b"two")
    assert reason_of(raised) == "busy"
    with pytest.raises(KeyDriverError) as raised:
        key.signature()
    assert reason_of(raised) == "not-ready"
    while not key.poll():
        key.chip.rest()
    assert key.poll()
    key.public_key().verify(key.signature(), b"one")
    with pytest.raises(KeyDriverError):
        key.signature()


def test_the_chip_sleeps_between_operations(key: AteccKey, chip: VirtualAtecc608) -> None:
    check(key)
    assert not chip._awake
    assert chip._registers.digest_buffer is None and chip._registers.temp_key is None


def test_ticks_that_went_round_since_the_last_operation(
    key: AteccKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MicroPython's ticks are compared within half their period, 6 days on 32 bits."""
    period = 1 << 30
    now = [0]

    def sleep_ms(ms: int) -> None:
        now[0] += ms

    names = vars(atecc608_chip)
    monkeypatch.setitem(names, "ticks_ms", lambda: now[0] % period)
    monkeypatch.setitem(names, "ticks_add", lambda at, ms: (at + ms) % period)
    monkeypatch.setitem(
        names,
        "ticks_diff",
        lambda end, start: (end - start + period // 2) % period - period // 2,
    )
    monkeypatch.setitem(names, "sleep_ms", sleep_ms)
    check(key)
    now[0] += 7 * 86_400_000
    began = now[0]
    check(key)
    assert now[0] - began < 10_000


# Faults.


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
    assert time.monotonic() - began < 4
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


# Counters.


def test_a_counter_is_raised_by_one(key: AteccKey) -> None:
    counter = key.counter()
    assert counter.limit == LIMIT == 2_097_151
    assert [counter.read(), counter.increment(), counter.increment(), counter.read()] == [
        0,
        1,
        2,
        2,
    ]
    with pytest.raises(KeyDriverError):
        counter.poll()
    counter.begin()
    with pytest.raises(KeyDriverError) as raised:
        counter.begin()
    assert reason_of(raised) == "busy"
    with pytest.raises(KeyDriverError) as raised:
        counter.value()
    assert reason_of(raised) == "not-ready"
    while not counter.poll():
        key.chip.rest()
    assert counter.value() == 3


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_counter_is_raised_once_when_power_is_lost(
    key: AteccKey, chip: VirtualAtecc608, cut: str
) -> None:
    chip.faults.cut = cut
    assert key.counter().increment() == 1
    assert chip.eeprom.counter(0) == 1


def test_a_worn_counter_says_so(chip: VirtualAtecc608, key: AteccKey) -> None:
    chip.eeprom.put_counter(0, LIMIT - 1)
    assert key.counter().increment() == LIMIT
    with pytest.raises(KeyDriverError, match="replace the chip") as raised:
        key.counter().increment()
    assert reason_of(raised) == "counter-worn"
    assert key.counter().read() == LIMIT
    check(key)


# Verifying in the chip, and one chip for several operations.


def test_the_chip_verifies_others_signatures(key: AteccKey) -> None:
    other = FileKey(
        from_raw(ES256, _software.public_raw(ES256, bytes(31) + b"\x09")), bytes(31) + b"\x09"
    )
    signature = other.sign(b"receipt")
    work = key.verifier(other.public_key(), signature, b"receipt")
    assert work is not None
    key.chip.finish(work)
    assert work.step()
    for public, message in ((other.public_key(), b"forged"), (key.public_key(), b"receipt")):
        work = key.verifier(public, signature, message)
        assert work is not None
        with pytest.raises(Unverified) as raised:
            key.chip.finish(work)
        assert raised.value.reason == "bad-signature"
    high = signature[:32] + (
        0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
        - int.from_bytes(signature[32:], "big")
    ).to_bytes(32, "big")
    with pytest.raises(Unverified):  # the chip itself takes it
        key.verifier(other.public_key(), high, b"receipt")


def test_what_the_chip_cannot_verify_is_left_to_others(key: AteccKey, tmp_path: Path) -> None:
    edwards = Signer.create(f"file:{tmp_path / 'key'}")
    assert key.verifier(edwards.public_key(), edwards.sign(b"x"), b"x") is None
    slow = key_on(our_chip(our_eeprom(divider_bits=0x68)))
    assert slow.verifier(key.public_key(), key.sign(b"x"), b"x") is None  # longer than the watchdog


def test_operations_wait_for_one_another(key: AteccKey) -> None:
    signature = key.sign(b"receipt")
    key.begin(b"decision")
    good = key.verifier(key.public_key(), signature, b"receipt")
    bad = key.verifier(key.public_key(), signature, b"forged")
    assert good is not None and bad is not None
    counter = key.counter()
    counter.begin()
    assert key.chip.full()
    # Busy shows: another operation is refused, or left to others.
    assert key.verifier(key.public_key(), signature, b"receipt") is None
    with pytest.raises(KeyDriverError) as raised:
        counter.read()
    assert reason_of(raised) == "busy"
    while not counter.poll():  # whoever polls moves the first one
        key.chip.rest()
    assert key.poll() and good.step() and counter.value() == 1
    key.public_key().verify(key.signature(), b"decision")
    with pytest.raises(Unverified):
        bad.step()
    assert not key.chip.full() and JOBS_MAX == 4


def test_verifying_leaves_a_place_for_a_signature(key: AteccKey) -> None:
    signature = key.sign(b"receipt")
    works = [key.verifier(key.public_key(), signature, b"receipt") for _ in range(JOBS_MAX)]
    assert [work is None for work in works] == [False] * (JOBS_MAX - 1) + [True]
    key.begin(b"decision")
    poll_to_the_end(key)
    key.public_key().verify(key.signature(), b"decision")


def _sign_many(port: int, count: int) -> None:
    key = Signer.from_uri(f"atecc608:tcp=127.0.0.1:{port}")
    counter = key.counter()
    assert counter is not None
    for number in range(count):
        message = b"%d" % number
        key.public_key().verify(key.sign(message), message)
        counter.increment()
    key.close()


def test_two_programs_share_a_chip(tmp_path: Path) -> None:
    """Neither signs the other's digest: an operation has the bus for itself."""
    chip = our_chip()
    context = multiprocessing.get_context("spawn")
    with serving(chip) as port:
        programs = [context.Process(target=_sign_many, args=(port, 8)) for _ in range(2)]
        for program in programs:
            program.start()
        for program in programs:
            program.join(60)
        assert [program.exitcode for program in programs] == [0, 0]
    assert chip.eeprom.counter(0) == 16


def test_a_bus_that_nobody_lets_go_of(key: AteccKey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atecc608_chip, "LOCK_TRIES", 3)
    key.chip._lock = lambda: False
    with pytest.raises(KeyDriverError, match="another program") as raised:
        key.sign(b"decision")
    assert reason_of(raised) == "busy"


def test_a_served_chip_that_went_away(tmp_path: Path) -> None:
    chip = our_chip()
    with serving(chip) as port:
        key = Signer.from_uri(f"atecc608:tcp=127.0.0.1:{port}")
        key.sign(b"decision")
    key.close()
    with pytest.raises(KeyDriverError) as raised:
        key.sign(b"decision")
    assert reason_of(raised) in ("no-bus", "no-chip")


# All of it at once.


def test_self_test_says_what_works(tmp_path: Path) -> None:
    key = Signer.from_uri(set_up(tmp_path / "chip"))
    said = key.self_test()
    assert len(said) == 6 and "0123A1B2C3D4E5F6EE" in said[0]
    key.close()


@pytest.mark.parametrize("bits", [0x01, 0x02, 0x20])
def test_self_test_says_what_does_not_work(key: AteccKey, chip: VirtualAtecc608, bits: int) -> None:
    chip.faults.self_test = bits
    with pytest.raises(KeyDriverError) as raised:
        key.self_test()
    assert reason_of(raised) == "chip-refused"


def test_self_test_sees_another_key(chip: VirtualAtecc608, key: AteccKey) -> None:
    chip.eeprom.put_slot(0, 4, bytes(31) + b"\x08")
    with pytest.raises(KeyDriverError) as raised:
        key.self_test()
    assert reason_of(raised) == "wrong-key"
