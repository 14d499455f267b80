"""What the virtual ATECC608's slots allow, by their configuration and locks."""

import hashlib
import os

import pytest

from support.wire608 import (
    EXECUTION,
    OK,
    PARSE,
    PLAIN_SLOT,
    PUBLIC_SLOT,
    SIGNING_SLOT,
    Wire,
    chip_of,
    ready_eeprom,
    slot_setting,
)
from tallystick.evidence.errors import Malformed
from tallystick.hw.virtual_atecc608 import Eeprom

READ, WRITE, LOCK, INFO, NONCE, SIGN = 0x02, 0x12, 0x17, 0x30, 0x16, 0x41
COUNTER, VERIFY, SHA, GENKEY = 0x24, 0x45, 0x47, 0x40
DATA_BLOCK, DATA_WORD, LOCK_SLOT, LOCK_DATA = 0x82, 0x02, 0x02, 0x81
DIGEST = hashlib.sha256(b"decision").digest()
BLOCK = bytes(range(32))


def woken(eeprom: Eeprom) -> Wire:
    wire = Wire(chip_of(eeprom))
    wire.wake()
    return wire


def data_open(use: int = 0x0000, key: int = 0x003C) -> Eeprom:
    """The configuration is locked, the data zone not yet."""
    eeprom = ready_eeprom()
    slot_setting(eeprom.memory, PLAIN_SLOT, use, key)
    eeprom.memory[86] = 0x55
    return eeprom


def test_a_private_key_is_not_read_even_where_it_is_called_no_secret() -> None:
    eeprom = ready_eeprom()
    slot_setting(eeprom.memory, SIGNING_SLOT, 0x2001, 0x0033)
    assert woken(eeprom).command(READ, DATA_BLOCK, SIGNING_SLOT << 3) == EXECUTION


def test_a_private_key_is_not_written_even_before_the_lock() -> None:
    wire = woken(data_open(key=0x0033))
    assert wire.command(WRITE, DATA_BLOCK, PLAIN_SLOT << 3, BLOCK) == EXECUTION


def test_only_blocks_are_written_before_the_lock() -> None:
    wire = woken(data_open())
    assert wire.command(WRITE, DATA_WORD, PLAIN_SLOT << 3, b"abcd") == EXECUTION
    assert wire.command(WRITE, DATA_BLOCK, PLAIN_SLOT << 3, BLOCK) == OK


def test_a_locked_slot_is_not_written() -> None:
    wire = woken(ready_eeprom())
    assert wire.command(WRITE, DATA_BLOCK, PLAIN_SLOT << 3, BLOCK) == OK
    assert wire.command(LOCK, LOCK_SLOT | PLAIN_SLOT << 2) == OK
    assert wire.command(WRITE, DATA_BLOCK, PLAIN_SLOT << 3, BLOCK) == EXECUTION
    assert wire.command(READ, DATA_BLOCK, PLAIN_SLOT << 3) == BLOCK


def test_a_slot_that_is_not_lockable_stays_open() -> None:
    eeprom = ready_eeprom()
    slot_setting(eeprom.memory, PLAIN_SLOT, 0x0000, 0x001C)
    assert woken(eeprom).command(LOCK, LOCK_SLOT | PLAIN_SLOT << 2) == EXECUTION


def test_slots_are_locked_after_the_data_zone() -> None:
    wire = woken(data_open())
    assert wire.command(LOCK, LOCK_SLOT | PLAIN_SLOT << 2) == EXECUTION
    assert wire.command(LOCK, LOCK_DATA) == OK
    assert wire.command(LOCK, LOCK_SLOT | PLAIN_SLOT << 2) == OK


@pytest.mark.parametrize(
    ("write_config", "taken"), [(0, OK), (2, EXECUTION), (4, EXECUTION), (8, EXECUTION)]
)
def test_write_config_holds_after_the_lock(write_config: int, taken: bytes) -> None:
    eeprom = data_open(use=write_config << 12)
    wire = woken(eeprom)
    assert wire.command(WRITE, DATA_BLOCK, PLAIN_SLOT << 3, BLOCK) == OK
    assert wire.command(LOCK, LOCK_DATA) == OK
    assert wire.command(WRITE, DATA_BLOCK, PLAIN_SLOT << 3, BLOCK) == taken


@pytest.mark.parametrize(("first", "taken"), [(0x50, EXECUTION), (0xA0, OK), (0x00, OK)])
def test_a_validated_public_key_is_not_written(first: int, taken: bytes) -> None:
    eeprom = ready_eeprom()
    slot_setting(eeprom.memory, PUBLIC_SLOT, 0x1000, 0x0032)
    eeprom.put_slot(PUBLIC_SLOT, 0, bytes((first,)))
    assert woken(eeprom).command(WRITE, DATA_BLOCK, PUBLIC_SLOT << 3, BLOCK) == taken


def test_otp_is_written_between_the_locks_alone() -> None:
    fresh = woken(Eeprom.factory(bytes(6)))
    assert fresh.command(WRITE, 0x81, 0, BLOCK) == EXECUTION
    wire = woken(data_open())
    assert wire.command(READ, 0x81, 0) == EXECUTION
    assert wire.command(WRITE, 0x81, 0x08, BLOCK) == OK
    assert wire.command(LOCK, LOCK_DATA) == OK
    assert wire.command(WRITE, 0x81, 0x08, BLOCK) == EXECUTION
    assert wire.command(READ, 0x81, 0x08) == BLOCK


def test_places_that_there_are_not() -> None:
    wire = woken(ready_eeprom())
    assert wire.command(READ, 0x83, 0) == PARSE
    assert wire.command(READ, 0x80, 0x20) == PARSE  # the fifth block of four
    assert wire.command(READ, 0x81, 0x10) == PARSE
    assert wire.command(READ, DATA_BLOCK, PLAIN_SLOT << 3 | 3 << 8) == PARSE
    assert wire.command(READ, DATA_WORD, PLAIN_SLOT << 3 | 2 << 8 | 2) == PARSE
    assert wire.command(READ, DATA_WORD, PLAIN_SLOT << 3 | 2 << 8 | 1) == bytes(4)
    assert wire.command(WRITE, 0xC2, PLAIN_SLOT << 3, BLOCK) == EXECUTION  # encrypted


def test_counters_count_once_the_configuration_is_locked() -> None:
    wire = woken(Eeprom.factory(bytes(6)))
    assert wire.command(COUNTER, 1) == EXECUTION
    assert wire.command(LOCK, 0x80) == OK
    assert wire.command(COUNTER, 1) == b"\x01\0\0\0"


def stored_key_chip(first: int, key: int) -> "tuple[Wire, bytes]":
    """(wire, a signature of slot 0's key over DIGEST); its public key lies in PUBLIC_SLOT."""
    eeprom = ready_eeprom()
    slot_setting(eeprom.memory, PUBLIC_SLOT, 0x0000, key)
    wire = woken(eeprom)
    public = wire.command(GENKEY, 0x00, SIGNING_SLOT)
    stored = eeprom.copy()
    stored.put_slot(PUBLIC_SLOT, 0, bytes((first, 0, 0, 0)) + public[:32] + bytes(4) + public[32:])
    wire.bus._memory.save(stored)
    wire.command(NONCE, 0x43, 0, DIGEST)
    return wire, wire.command(SIGN, 0xA0, SIGNING_SLOT)


@pytest.mark.parametrize(
    ("first", "key", "says"),
    [
        (0x00, 0x0030, OK),
        (0x50, 0x0032, OK),
        (0x00, 0x0032, EXECUTION),  # PubInfo: it must have been validated
        (0xA0, 0x0032, EXECUTION),
        (0x00, 0x0031, EXECUTION),  # a private key's slot
        (0x00, 0x003C, EXECUTION),  # no P-256 key
    ],
)
def test_which_stored_keys_verify(first: int, key: int, says: bytes) -> None:
    wire, signature = stored_key_chip(first, key)
    wire.command(NONCE, 0x43, 0, DIGEST)
    assert wire.command(VERIFY, 0x20, PUBLIC_SLOT, signature) == says


def test_info_says_which_keys_are_valid() -> None:
    wire, _ = stored_key_chip(0x50, 0x0032)
    assert wire.command(INFO, 1, SIGNING_SLOT) == b"\x01\0\0\0"
    assert wire.command(INFO, 1, 1) == bytes(4)
    assert wire.command(INFO, 1, PUBLIC_SLOT) == b"\x01\0\0\0"
    assert wire.command(INFO, 1, 16) == PARSE


def test_a_hash_has_its_order() -> None:
    wire = woken(ready_eeprom())
    message = os.urandom(64)
    for broken in ((SHA, 1, 64, message), (SHA, 2, 0, b"")):
        assert wire.command(*broken) == EXECUTION
    assert wire.command(SHA, 0) == OK
    assert wire.command(SHA, 1, 64, message) == OK
    wire.command(INFO)  # another command ends it
    assert wire.command(SHA, 2) == EXECUTION
    assert wire.command(SHA, 0) == OK
    assert wire.command(SHA, 1, 64, message) == OK
    wire.rest(2)
    wire.wake()
    assert wire.command(SHA, 0x42, 3, b"abc") == hashlib.sha256(message + b"abc").digest()
    assert len(wire.command(SIGN, 0xA0, SIGNING_SLOT)) == 64  # the digest went to the buffer
    assert wire.command(SHA, 1, 63, message[:63]) == PARSE
    assert wire.command(SHA, 2, 64, message) == PARSE


@pytest.mark.parametrize(
    ("at", "value"), [(0, 0xFF), (12, 0xEF), (86, 0x54), (87, 0xAA), (86, 0x00)]
)
def test_a_memory_that_no_chip_can_have(at: int, value: int) -> None:
    memory = bytearray(Eeprom.factory(bytes(6)).memory)
    memory[at] = value
    with pytest.raises(Malformed):
        Eeprom(bytes(memory))
    with pytest.raises(Malformed):
        Eeprom(bytes(memory[:-1]))
    with pytest.raises(Malformed):
        Eeprom.factory(bytes(5))
