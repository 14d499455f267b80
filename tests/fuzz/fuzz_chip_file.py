"""A virtual chip's file that is not exactly what was written is refused by Malformed."""

from tallystick.evidence.errors import Malformed
from tallystick.hw.virtual_atecc608 import Eeprom, chip_file

_GOOD = chip_file.encode(Eeprom.factory(bytes(6)))
SEEDS = (_GOOD,)


def target(data: bytes) -> None:
    try:
        eeprom = chip_file.parse(data)
    except Malformed:
        return
    assert chip_file.encode(eeprom) == data
