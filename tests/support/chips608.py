"""An ATECC608 set up for us, in memory or in a file, and signers on whatever bus leads to it."""

import time
from pathlib import Path
from typing import Any

import pytest

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw import atecc608_chip
from tallystick.hw import atecc608_commands as commands
from tallystick.hw import atecc608_profile as profile
from tallystick.hw.atecc608 import AteccKey
from tallystick.hw.atecc608_chip import Chip
from tallystick.hw.atecc608_setup import provision
from tallystick.hw.virtual_atecc608 import Eeprom, Memory, VirtualAtecc608

ADDRESS = 0x60
UNIQUE = b"\xa1\xb2\xc3\xd4\xe5\xf6"
SERIAL = "0123A1B2C3D4E5F6EE"
SECRET = bytes(31) + b"\x07"


def our_eeprom(*, divider_bits: int = 0, key: bytes | None = SECRET) -> Eeprom:
    """Our profile, locked, with a key in slot 0 (of which everyone knows the secret)."""
    made = Eeprom.factory(UNIQUE)
    made.memory[:128] = profile.wanted(made.config)
    made.memory[19] = divider_bits
    made.memory[86:88] = bytes(2)
    if key is not None:
        made.put_slot(0, 4, key)
    return made


def our_chip(eeprom: Eeprom | None = None, **settings: Any) -> VirtualAtecc608:
    """Such a chip, in memory, without the real one's times unless `time_scale` says so."""
    settings.setdefault("time_scale", 0.0)
    return VirtualAtecc608(Memory(eeprom or our_eeprom()), **settings)


def key_on(bus: Any, slot: int = 0) -> AteccKey:
    """The key of a slot of the chip on this bus."""
    chip = Chip(bus, ADDRESS)
    chip.run(commands.read_config, chip)
    raw = chip.run(commands.public_key, chip, slot)
    return AteccKey(chip, slot, raw)


def set_up(path: Path) -> str:
    """A chip in a file, provisioned as an operator does it; its URI."""
    VirtualAtecc608.new(str(path), unique=UNIQUE)
    uri = f"atecc608:virtual={path}"
    provision(uri, lambda _: SERIAL, lambda _: None)
    return uri


def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's pauses pass at once; for chips that take no time."""
    now = [0]

    def sleep_ms(ms: int) -> None:
        now[0] += ms

    monkeypatch.setattr(atecc608_chip, "ticks_ms", lambda: now[0])
    monkeypatch.setattr(atecc608_chip, "sleep_ms", sleep_ms)


class Interference:
    """A bus with somebody's hand on it: `touch(kind, address, data)` may change or stop anything.

    kind: "W" before a write, "R" after a read; it returns the data that arrives.
    """

    def __init__(self, bus: Any) -> None:
        self.bus = bus
        self.touch: Any = lambda _kind, _address, data: data

    def scan(self) -> list[int]:
        found: list[int] = self.bus.scan()
        return found

    def writeto(self, address: int, data: bytes) -> int:
        sent: int = self.bus.writeto(address, self.touch("W", address, bytes(data)))
        return sent

    def readfrom(self, address: int, size: int) -> bytes:
        read: bytes = self.touch("R", address, self.bus.readfrom(address, size))
        return read


def reason_of(raised: pytest.ExceptionInfo[KeyDriverError]) -> str:
    """Of the error that was raised."""
    return raised.value.reason


def check(key: AteccKey, message: bytes = b"decision") -> None:
    """Sign and verify."""
    key.public_key().verify(key.sign(message), message)


def poll_to_the_end(work: Any) -> None:
    """Poll until it is done."""
    while not work.poll():
        time.sleep(0.001)
