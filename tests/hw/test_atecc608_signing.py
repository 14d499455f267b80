"""The ATECC608's driver on a virtual chip: signatures in phases, counters, verifying."""

import multiprocessing
import time
from pathlib import Path

import pytest

from support.chips608 import (
    SECRET,
    check,
    key_on,
    our_chip,
    our_eeprom,
    poll_to_the_end,
    reason_of,
    set_up,
)
from tallystick.evidence.errors import KeyDriverError, Unverified
from tallystick.evidence.keys import ES256, from_raw
from tallystick.hw import _software, atecc608_chip
from tallystick.hw.atecc608 import AteccKey
from tallystick.hw.atecc608_chip import JOBS_MAX
from tallystick.hw.atecc608_counter import LIMIT
from tallystick.hw.signer import Signer
from tallystick.hw.software_key import FileKey
from tallystick.hw.virtual_atecc608 import Tap, VirtualAtecc608
from tallystick.hw.virtual_atecc608.server import serving

# One answer, a word of rest and the next wake pulse, or a wake answer and the longest command.
TRANSFERS_A_POLL = 3
BYTES_A_POLL = 160
POLL_S_MAX = 0.05
TRIES_MAX = 20
SLOW_MS = (115, 220, 665)
EXPECTED = _software.public_raw(ES256, SECRET)


@pytest.fixture
def chip() -> VirtualAtecc608:
    return our_chip()


@pytest.fixture
def key(chip: VirtualAtecc608) -> AteccKey:
    return key_on(chip)


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
    # The shortest of the longest: a busy machine lets each of them wait now and then.
    for _ in range(TRIES_MAX):
        if longest_poll_s(key, tap, divider) < POLL_S_MAX:
            return
    pytest.fail("polls take long")


def longest_poll_s(key: AteccKey, tap: Tap, divider: int) -> float:
    """Of one signature, which takes as long as the chip takes."""
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
            sent = began
        elif sent and new and not looked:
            looked = time.monotonic()
        if done:
            break
    assert looked - sent >= SLOW_MS[divider] / 2000 - 0.002
    assert time.monotonic() - sent >= SLOW_MS[divider] / 1000 * 0.9
    key.public_key().verify(key.signature(), b"decision")
    return worst


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
