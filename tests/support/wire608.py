"""The least that speaks to an ATECC608 byte by byte, for tests of the virtual chip itself."""

import contextlib
import os
from typing import Any

import pytest

from tallystick.hw.virtual_atecc608 import Eeprom, Memory, VirtualAtecc608
from tallystick.hw.virtual_atecc608.crc import crc16

ADDRESS = 0x60
AFTER_WAKE = bytes.fromhex("04113343")
OK, MISCOMPARE, PARSE, ECC_FAULT, EXECUTION = b"\x00", b"\x01", b"\x03", b"\x05", b"\x0f"
NEAR_WATCHDOG, CRC = b"\xee", b"\xff"
SIGNING_SLOT, PUBLIC_SLOT, PLAIN_SLOT = 0, 9, 10


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


def nack() -> "pytest.RaisesExc[OSError]":
    """Expect that nobody acknowledges."""
    return pytest.raises(OSError, match="not acknowledged")


def packet(opcode: int, p1: int = 0, p2: int = 0, data: bytes = b"") -> bytes:
    """A command as it goes over the wire, word address included."""
    body = bytes((7 + len(data), opcode, p1, p2 & 0xFF, p2 >> 8)) + data
    return b"\x03" + body + crc16(body)


class Wire:
    """A chip on its bus: wake it, send commands, read answers."""

    def __init__(self, bus: Any, address: int = ADDRESS) -> None:
        self.bus = bus
        self.address = address

    def wake(self) -> bytes:
        """The pulse, and what the chip says then."""
        with contextlib.suppress(OSError):
            self.bus.writeto(0, b"\0")
        return bytes(self.bus.readfrom(self.address, 4))

    def send(self, opcode: int, p1: int = 0, p2: int = 0, data: bytes = b"") -> None:
        self.bus.writeto(self.address, packet(opcode, p1, p2, data))

    def answer(self) -> bytes:
        """The answer's content; its count and CRC are right."""
        size = self.bus.readfrom(self.address, 1)[0]
        rest = self.bus.readfrom(self.address, size - 1)
        assert crc16(bytes((size,)) + rest[:-2]) == rest[-2:]
        return bytes(rest[:-2])

    def command(self, opcode: int, p1: int = 0, p2: int = 0, data: bytes = b"") -> bytes:
        self.send(opcode, p1, p2, data)
        return self.answer()

    def rest(self, word: int) -> None:
        """Sleep (1) or idle (2)."""
        self.bus.writeto(self.address, bytes((word,)))


def slot_setting(memory: bytearray, slot: int, use: int, key: int) -> None:
    """SlotConfig and KeyConfig of a slot."""
    memory[20 + 2 * slot : 22 + 2 * slot] = use.to_bytes(2, "little")
    memory[96 + 2 * slot : 98 + 2 * slot] = key.to_bytes(2, "little")


def ready_eeprom() -> Eeprom:
    """Slot 0 signs and has a key, 9 is for a public key, 10 for plain data; all is locked."""
    made = Eeprom.factory(os.urandom(6))
    slot_setting(made.memory, SIGNING_SLOT, 0x2081, 0x0033)
    slot_setting(made.memory, PUBLIC_SLOT, 0x0000, 0x0030)
    slot_setting(made.memory, PLAIN_SLOT, 0x0000, 0x003C)
    made.memory[86:88] = bytes(2)
    made.put_slot(SIGNING_SLOT, 4, os.urandom(31).rjust(32, b"\1"))
    return made


def chip_of(eeprom: Eeprom, **settings: Any) -> VirtualAtecc608:
    """A chip without a file; without times unless `time_scale` says so."""
    settings.setdefault("time_scale", 0.0)
    return VirtualAtecc608(Memory(eeprom), **settings)
