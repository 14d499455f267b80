# CPython only
"""What a command works on: memory, registers, chance."""

from collections.abc import Callable

from tallystick.hw.virtual_atecc608.eeprom import COUNT_MATCH_AT, COUNTER_MAX, Eeprom
from tallystick.hw.virtual_atecc608.registers import Registers
from tallystick.hw.virtual_atecc608.status import PARSE, need

BEFORE_LOCK = bytes.fromhex("ffff0000") * 8
SLOTS = 16


class Core:
    """One command's view of the chip; its EEPROM is a copy until the command has succeeded."""

    def __init__(
        self,
        eeprom: Eeprom,
        registers: Registers,
        entropy: "Callable[[int], bytes]",
        failing_tests: int,
    ) -> None:
        self.eeprom = eeprom
        self.registers = registers
        self.entropy = entropy
        self.failing_tests = failing_tests

    def random(self) -> bytes:
        """32 random bytes; a fixed pattern until the configuration is locked."""
        return self.entropy(32) if self.eeprom.config_locked else BEFORE_LOCK

    def slot(self, number: int) -> int:
        """A parameter that names a slot."""
        need(number < SLOTS, PARSE)
        return number

    def need_use(self, slot: int) -> None:
        """The slot's key may be used: nobody authorizes here, and a limited use is counted."""
        need(not self.eeprom.key_config(slot) & 0x80)  # ReqAuth: CheckMac is not modelled
        if self.eeprom.slot_config(slot) & 0x20:
            self.count(0)

    def count(self, counter: int) -> int:
        """Raise a counter; refused at its end or at Counter0's match."""
        value = self.eeprom.counter(counter) + 1
        need(value <= self.limit(counter))
        self.eeprom.put_counter(counter, value)
        return value

    def limit(self, counter: int) -> int:
        """The last value that the counter can reach."""
        match = self.eeprom.config[COUNT_MATCH_AT]
        if counter or not match & 1:
            return COUNTER_MAX
        return min(COUNTER_MAX, int.from_bytes(self.eeprom.slot(match >> 4)[:4], "little"))
