# CPython only
"""A virtual ATECC608: the secure element's wire behaviour in software, for tests and trials.

It protects nothing. Its keys lie in plain in its state file; a level of custody that it shows is
a rehearsal (docs/hardware.md).
"""

from tallystick.hw.virtual_atecc608.chip import VirtualAtecc608
from tallystick.hw.virtual_atecc608.chip_file import ChipFile, Memory
from tallystick.hw.virtual_atecc608.eeprom import COUNTER_MAX, Eeprom
from tallystick.hw.virtual_atecc608.faults import Faults
from tallystick.hw.virtual_atecc608.tap import Tap

__all__ = [
    "COUNTER_MAX",
    "ChipFile",
    "Eeprom",
    "Faults",
    "Memory",
    "Tap",
    "VirtualAtecc608",
]
