# CPython only
"""Commands on the zones: Read, Write, Lock, UpdateExtra, Counter, Info."""

from tallystick.hw.virtual_atecc608.core import Core
from tallystick.hw.virtual_atecc608.crc import crc16
from tallystick.hw.virtual_atecc608.eeprom import (
    CONFIG_BYTES,
    LOCK_CONFIG_AT,
    LOCK_VALUE_AT,
    LOCKED,
    OTP_BYTES,
    SLOT_BYTES,
    USER_EXTRA_AT,
)
from tallystick.hw.virtual_atecc608.status import PARSE, Refused, need

CONFIG, OTP, DATA = 0, 1, 2
BLOCK_BYTES, WORD_BYTES = 32, 4
PUBLIC_VALID = 5  # the high nibble of a public key's first byte, once it was validated
_DONE = b"\x00"


def _place(zone: int, address: int, size: int) -> "tuple[int, int]":
    """(slot, offset) of a 4- or 32-byte access; slot 0 outside the data zone."""
    need(zone in (CONFIG, OTP, DATA), PARSE)
    slot = address >> 3 & 0xF if zone == DATA else 0
    block = address >> 8 if zone == DATA else address >> 3
    at = BLOCK_BYTES * block + (WORD_BYTES * (address & 7) if size == WORD_BYTES else 0)
    unused = address & 0x80 if zone == DATA else address >> 8
    need(not unused, PARSE)
    if zone == DATA:
        # A slot's last block is shorter than 32 bytes, and read and written as a whole.
        need(at < SLOT_BYTES[slot], PARSE)
    else:
        need(at + size <= (CONFIG_BYTES, OTP_BYTES)[zone], PARSE)
    return slot, at


def read(core: Core, mode: int, address: int, data: bytes) -> bytes:
    """4 or 32 bytes in plain; secrets never."""
    need(not mode & 0x7C and not data, PARSE)
    size = BLOCK_BYTES if mode & 0x80 else WORD_BYTES
    zone = mode & 3
    slot, at = _place(zone, address, size)
    eeprom = core.eeprom
    if zone == CONFIG:
        return eeprom.config[at : at + size]
    need(eeprom.data_locked)
    if zone == OTP:
        return eeprom.otp[at : at + size]
    need(not eeprom.key_config(slot) & 1 and not eeprom.slot_config(slot) & 0x80)
    core.need_use(slot)
    return eeprom.slot(slot)[at : at + size].ljust(size, b"\0")


def write(core: Core, mode: int, address: int, data: bytes) -> bytes:
    """4 or 32 bytes in plain; what must come encrypted is refused (GenDig is not modelled)."""
    need(not mode & 0x3C, PARSE)
    need(not mode & 0x40)
    size = BLOCK_BYTES if mode & 0x80 else WORD_BYTES
    need(len(data) == size, PARSE)
    zone = mode & 3
    slot, at = _place(zone, address, size)
    if zone == CONFIG:
        _write_config(core, at, data)
    elif zone == OTP:
        need(core.eeprom.config_locked and not core.eeprom.data_locked and size == BLOCK_BYTES)
        core.eeprom.memory[CONFIG_BYTES + at : CONFIG_BYTES + at + size] = data
    else:
        _write_slot(core, slot, at, data)
    return _DONE


def _write_config(core: Core, at: int, data: bytes) -> None:
    """Never serial number and revision, nor what UpdateExtra and Lock write."""
    end = at + len(data)
    need(not core.eeprom.config_locked and at >= 16 and (end <= USER_EXTRA_AT or at >= 88))
    core.eeprom.memory[at:end] = data


def _write_slot(core: Core, slot: int, at: int, data: bytes) -> None:
    eeprom = core.eeprom
    need(eeprom.config_locked and not eeprom.slot_locked(slot))
    need(not eeprom.key_config(slot) & 1)  # a private key is made inside
    if not eeprom.data_locked:
        need(len(data) == BLOCK_BYTES)
    else:
        config = eeprom.slot_config(slot) >> 12
        if config == 1:
            need(eeprom.slot(slot)[0] >> 4 != PUBLIC_VALID)
        else:
            need(config == 0)
        core.need_use(slot)
    eeprom.put_slot(slot, at, data[: SLOT_BYTES[slot] - at])


def lock(core: Core, mode: int, summary: int, data: bytes) -> bytes:
    """Configuration, data with OTP, or one slot; never undone."""
    need(not mode & 0x40 and not data, PARSE)
    what, slot = mode & 3, mode >> 2 & 0xF
    eeprom = core.eeprom
    need(what == DATA or (what in (CONFIG, OTP) and not slot), PARSE)
    if what == CONFIG:
        need(not eeprom.config_locked)
        _check_summary(mode, summary, eeprom.config)
        eeprom.memory[LOCK_CONFIG_AT] = LOCKED
    elif what == OTP:
        need(eeprom.config_locked and not eeprom.data_locked)
        _check_summary(mode, summary, eeprom.data + eeprom.otp)
        eeprom.memory[LOCK_VALUE_AT] = LOCKED
    else:
        need(eeprom.config_locked and eeprom.data_locked)
        need(bool(eeprom.key_config(slot) & 0x20) and not eeprom.slot_locked(slot))
        eeprom.lock_slot(slot)
    return _DONE


def _check_summary(mode: int, summary: int, zone: bytes) -> None:
    need(bool(mode & 0x80) or summary == int.from_bytes(crc16(zone), "little"))


def update_extra(core: Core, mode: int, value: int, data: bytes) -> bytes:
    """UserExtra or UserExtraAdd, once."""
    need(mode in (0, 1) and value <= 0xFF and not data, PARSE)
    at = USER_EXTRA_AT + mode
    need(core.eeprom.memory[at] == 0)
    core.eeprom.memory[at] = value
    return _DONE


def counter(core: Core, mode: int, number: int, data: bytes) -> bytes:
    """Read (0) or raise (1) a counter; its value, little-endian."""
    need(mode in (0, 1) and number in (0, 1) and not data, PARSE)
    if not mode:
        return core.eeprom.counter(number).to_bytes(4, "little")
    need(core.eeprom.config_locked)
    return core.count(number).to_bytes(4, "little")


def info(core: Core, mode: int, parameter: int, data: bytes) -> bytes:
    """Revision, whether a slot holds a valid key, or the device state."""
    need(not data, PARSE)
    if mode == 0:
        return core.eeprom.config[4:8]
    if mode == 1:
        slot = core.slot(parameter)
        if core.eeprom.key_config(slot) & 1:
            valid = core.eeprom.private_key(slot) is not None
        else:
            valid = core.eeprom.slot(slot)[0] >> 4 == PUBLIC_VALID
        return bytes((valid, 0, 0, 0))
    if mode == 2:
        return core.registers.state() + bytes(2)
    raise Refused(PARSE)
