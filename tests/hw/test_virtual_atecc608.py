"""The virtual ATECC608 on its bus: waking, sleeping, busy times, the watchdog, packets."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.wire608 import (
    ADDRESS,
    AFTER_WAKE,
    CRC,
    EXECUTION,
    NEAR_WATCHDOG,
    OK,
    PARSE,
    SIGNING_SLOT,
    Clock,
    Wire,
    chip_of,
    nack,
    packet,
    ready_eeprom,
    slot_setting,
)
from tallystick.hw.virtual_atecc608 import Eeprom, VirtualAtecc608, times

INFO, RANDOM, NONCE, GENKEY, SIGN, COUNTER = 0x30, 0x1B, 0x16, 0x40, 0x41, 0x24
SLEEP, IDLE = 1, 2
DIGEST = hashlib.sha256(b"decision").digest()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def chip(clock: Clock) -> VirtualAtecc608:
    """A chip with a key, and the real one's times on a clock that the test moves."""
    return chip_of(ready_eeprom(), time_scale=1.0, clock=clock)


@pytest.fixture
def wire(chip: VirtualAtecc608) -> Wire:
    return Wire(chip)


def awake(wire: Wire, clock: Clock) -> None:
    with nack():
        wire.bus.writeto(0, b"\0")
    clock.pass_(times.WAKE_DELAY_S)
    assert wire.bus.readfrom(ADDRESS, 4) == AFTER_WAKE


def test_asleep_it_acknowledges_nothing(chip: VirtualAtecc608, clock: Clock) -> None:
    assert chip.scan() == []
    with nack():
        chip.writeto(ADDRESS, packet(INFO))
    with nack():
        chip.readfrom(ADDRESS, 4)


def test_it_needs_its_time_to_wake(chip: VirtualAtecc608, clock: Clock) -> None:
    with nack():
        chip.writeto(0, b"\0")
    clock.pass_(times.WAKE_DELAY_S - 1e-4)
    with nack():
        chip.readfrom(ADDRESS, 4)
    clock.pass_(2e-4)
    assert chip.readfrom(ADDRESS, 4) == AFTER_WAKE
    assert chip.scan() == [ADDRESS]


def test_a_fast_bus_is_no_wake_pulse(clock: Clock) -> None:
    chip = chip_of(ready_eeprom(), bus_hz=400_000)
    with nack():
        chip.writeto(0, b"\0")
    assert chip.scan() == []
    chip.wake_pulse(80e-6)  # SDA held low by hand
    assert chip.readfrom(ADDRESS, 4) == AFTER_WAKE


def test_awake_it_ignores_a_wake(wire: Wire, clock: Clock) -> None:
    awake(wire, clock)
    wire.send(INFO)
    clock.pass_(0.01)
    with nack():
        wire.bus.writeto(0, b"\0")
    assert wire.answer() == bytes.fromhex("00006003")


def test_an_answer_is_read_piece_by_piece_and_again(wire: Wire, clock: Clock) -> None:
    awake(wire, clock)
    wire.send(INFO)
    clock.pass_(0.01)
    first = [wire.bus.readfrom(ADDRESS, 1) for _ in range(7)]
    assert wire.bus.readfrom(ADDRESS, 2) == b"\xff\xff"
    wire.bus.writeto(ADDRESS, b"\0")
    again = bytearray(9)
    wire.bus.readfrom_into(ADDRESS, again)
    assert again == b"".join(first) + b"\xff\xff"


@pytest.mark.parametrize(
    ("divider", "sign_ms", "genkey_ms", "counter_ms"),
    [(0, 115, 115, 25), (1, 220, 215, 25), (2, 665, 653, 25)],
)
def test_busy_times_follow_the_clock_divider(
    clock: Clock, divider: int, sign_ms: int, genkey_ms: int, counter_ms: int
) -> None:
    eeprom = ready_eeprom()
    eeprom.memory[19] = times.DIVIDER_BITS[divider]
    wire = Wire(chip_of(eeprom, time_scale=1.0, clock=clock))

    def busy_ms(opcode: int, p1: int, data: bytes = b"") -> float:
        start = clock.now
        wire.send(opcode, p1, 0, data)
        while True:
            try:
                wire.bus.readfrom(ADDRESS, 1)
            except OSError:
                with nack():
                    wire.bus.writeto(ADDRESS, packet(INFO))  # commands neither
                clock.pass_(0.0005)
            else:
                return (clock.now - start) * 1_000

    for opcode, p1, longest in (
        (GENKEY, 0x00, genkey_ms),
        (SIGN, 0xA0, sign_ms),
        (COUNTER, 0x01, counter_ms),
    ):
        awake(wire, clock)
        if opcode == SIGN:
            busy_ms(NONCE, 0x43, DIGEST)
        assert busy_ms(opcode, p1) == pytest.approx(longest, abs=1.0)
        wire.rest(SLEEP)


def test_the_watchdog_sends_it_to_sleep(wire: Wire, clock: Clock) -> None:
    awake(wire, clock)
    wire.send(NONCE, 0x43, 0, DIGEST)
    clock.pass_(1.2)
    assert wire.answer() == OK
    clock.pass_(0.1)
    with nack():
        wire.send(SIGN, 0xA0)
    awake(wire, clock)
    wire.send(SIGN, 0xA0)
    clock.pass_(0.2)
    assert wire.answer() == EXECUTION  # the digest is gone


def test_a_command_that_the_watchdog_would_cut_is_refused(wire: Wire, clock: Clock) -> None:
    awake(wire, clock)
    clock.pass_(1.3 - 0.11)
    assert wire.command(GENKEY, 0x00) == NEAR_WATCHDOG
    wire.rest(IDLE)
    awake(wire, clock)
    wire.send(GENKEY, 0x00)
    clock.pass_(0.2)
    assert len(wire.answer()) == 64


def test_the_long_watchdog(clock: Clock) -> None:
    eeprom = ready_eeprom()
    eeprom.memory[19] = 0x04
    wire = Wire(chip_of(eeprom, clock=clock))
    wire.wake()
    clock.pass_(9.9)
    assert wire.command(INFO) == bytes.fromhex("00006003")
    clock.pass_(0.2)
    assert wire.bus.scan() == []


@pytest.mark.parametrize(("word", "kept"), [(IDLE, True), (SLEEP, False)])
def test_idle_keeps_what_sleep_loses(word: int, kept: bool) -> None:
    wire = Wire(chip_of(ready_eeprom()))
    wire.wake()
    assert wire.command(NONCE, 0x43, 0, DIGEST) == OK
    assert wire.command(NONCE, 0x03, 0, DIGEST) == OK
    wire.rest(word)
    assert wire.bus.scan() == []
    wire.wake()
    assert (wire.command(INFO, 2)[1] == 0x80) is kept
    for mode in (0xA0, 0x80):
        assert (len(wire.command(SIGN, mode)) == 64) is kept


def test_digests_are_used_up() -> None:
    wire = Wire(chip_of(ready_eeprom()))
    wire.wake()
    for load, mode in ((0x43, 0xA0), (0x03, 0x80)):
        assert wire.command(NONCE, load, 0, DIGEST) == OK
        assert len(wire.command(SIGN, mode)) == 64
        assert wire.command(SIGN, mode) == EXECUTION


def test_a_packet_that_did_not_arrive_whole() -> None:
    wire = Wire(chip_of(ready_eeprom()))
    wire.wake()
    good = packet(COUNTER, 1)
    damaged = bytearray(good)
    damaged[3] ^= 1
    for sent in (bytes(damaged), good[:-1], good + b"\0", b"\x03", b"\x03\x07", good[:4]):
        wire.bus.writeto(ADDRESS, sent)
        assert wire.answer() == CRC
    assert wire.command(COUNTER, 0) == bytes(4)


def test_what_is_no_command() -> None:
    wire = Wire(chip_of(ready_eeprom()))
    wire.wake()
    assert wire.command(0x99) == PARSE
    assert wire.command(INFO, 9) == PARSE
    assert wire.command(COUNTER, 0, 2) == PARSE
    assert wire.command(SIGN, 0xA0, 16) == PARSE
    assert wire.command(NONCE, 0x43, 0, DIGEST[:31]) == PARSE
    assert wire.command(0x43, 0x0C, 0, bytes(64)) == EXECUTION  # ECDH is not modelled
    with nack():
        wire.bus.writeto(ADDRESS, b"\x04")  # no word address


def test_other_addresses_are_not_its_own() -> None:
    chip = chip_of(ready_eeprom())
    Wire(chip).wake()
    with nack():
        chip.writeto(0x61, packet(INFO))
    with nack():
        chip.readfrom(0x61, 1)


def test_a_new_address_holds_after_sleep() -> None:
    eeprom = Eeprom.factory(bytes(6))
    chip = chip_of(eeprom)
    wire = Wire(chip)
    wire.wake()
    assert wire.command(0x12, 0x00, 0x04, b"\x6a\0\0\0") == OK
    assert wire.command(INFO) == bytes.fromhex("00006003")
    wire.rest(SLEEP)
    moved = Wire(chip, 0x35)
    assert moved.wake() == AFTER_WAKE
    assert moved.command(INFO) == bytes.fromhex("00006003")


def test_random_nonces_and_key_digests() -> None:
    chip = chip_of(ready_eeprom())
    wire = Wire(chip)
    wire.wake()
    drawn = wire.command(NONCE, 0x00, 0, bytes(20))
    value = hashlib.sha256(drawn + bytes(20) + b"\x16\0\0").digest()
    assert chip._registers.temp_key == value
    assert wire.command(INFO, 2)[:2] == b"\x10\x80"
    public = wire.command(GENKEY, 0x08, SIGNING_SLOT)
    serial = chip.eeprom.serial
    message = value + b"\x40\x08\0\0" + serial[8:] + serial[:2] + bytes(25) + public
    assert chip._registers.temp_key == hashlib.sha256(message).digest()
    assert wire.command(INFO, 2)[:2] == b"\x50\x80"


@pytest.mark.parametrize(
    ("use", "key", "signs"),
    [
        (0x2081, 0x0033, True),
        (0x2082, 0x0033, False),  # ReadKey: internal messages alone
        (0x2081, 0x0032, False),  # not private
        (0x2081, 0x003F, False),  # no P-256 key
        (0x2081, 0x0073, False),  # ReqRandom: the digest must come from a random nonce
        (0x2081, 0x00B3, False),  # ReqAuth: nobody has authorized
    ],
)
def test_who_may_sign(use: int, key: int, signs: bool) -> None:
    eeprom = ready_eeprom()
    slot_setting(eeprom.memory, SIGNING_SLOT, use, key)
    wire = Wire(chip_of(eeprom))
    wire.wake()
    assert wire.command(NONCE, 0x43, 0, DIGEST) == OK
    assert (len(wire.command(SIGN, 0xA0, SIGNING_SLOT)) == 64) is signs


def test_a_random_nonce_is_what_reqrandom_wants() -> None:
    eeprom = ready_eeprom()
    slot_setting(eeprom.memory, SIGNING_SLOT, 0x2081, 0x0073)
    wire = Wire(chip_of(eeprom))
    wire.wake()
    assert len(wire.command(NONCE, 0x00, 0, bytes(20))) == 32
    assert len(wire.command(SIGN, 0x80, SIGNING_SLOT)) == 64


@pytest.mark.parametrize(
    ("use", "key", "made", "shown"),
    [
        (0x2081, 0x0033, True, True),
        (0x0081, 0x0033, False, True),  # WriteConfig: GenKey makes none once all is locked
        (0x2081, 0x0031, True, False),  # PubInfo: its public key is not shown
    ],
)
def test_who_may_make_and_show_keys(use: int, key: int, made: bool, shown: bool) -> None:
    eeprom = ready_eeprom()
    slot_setting(eeprom.memory, SIGNING_SLOT, use, key)
    wire = Wire(chip_of(eeprom))
    wire.wake()
    assert (len(wire.command(GENKEY, 0x04, SIGNING_SLOT)) == 64) is made
    assert (len(wire.command(GENKEY, 0x00, SIGNING_SLOT)) == 64) is shown


def test_a_limited_key_counts_its_uses() -> None:
    eeprom = ready_eeprom()
    slot_setting(eeprom.memory, SIGNING_SLOT, 0x20A1, 0x0033)
    eeprom.put_counter(0, 2_097_150)
    wire = Wire(chip_of(eeprom))
    wire.wake()
    for signs in (True, False):
        wire.command(NONCE, 0x43, 0, DIGEST)
        assert (len(wire.command(SIGN, 0xA0, SIGNING_SLOT)) == 64) is signs


def test_counter_0_ends_at_its_match() -> None:
    eeprom = ready_eeprom()
    eeprom.memory[18] = 10 << 4 | 1
    eeprom.put_slot(10, 0, (2).to_bytes(4, "little") * 2)
    wire = Wire(chip_of(eeprom))
    wire.wake()
    assert [wire.command(COUNTER, 1, 0) for _ in range(3)] == [
        b"\x01\0\0\0",
        b"\x02\0\0\0",
        EXECUTION,
    ]
    assert wire.command(COUNTER, 1, 1) == b"\x01\0\0\0"


@given(value=st.integers(0, 2_097_151), counter=st.integers(0, 1))
def test_counters_are_kept_as_they_are(value: int, counter: int) -> None:
    eeprom = Eeprom.factory(bytes(6))
    eeprom.put_counter(counter, value)
    assert eeprom.counter(counter) == value
    assert eeprom.counter(1 - counter) == 0
