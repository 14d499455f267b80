"""What an ATECC608 is and how it is set up, in words, also where its slot has no key yet."""

from tallystick.hw import atecc608_commands as commands
from tallystick.hw import atecc608_profile as profile
from tallystick.hw.atecc608_chip import Chip
from tallystick.hw.atecc608_counter import LIMIT, reading
from tallystick.hw.atecc608_open import SLOTS, close, open_chip, serial_number, signs
from tallystick.hw.atecc608_selftest import hexadecimal

OPEN = 0x55
SIGN_MS = (115, 220, 665)


def describe(rest: str) -> "list[tuple[str, str]]":
    """(name, value) each; KeyDriverError when no chip answers."""
    chip, slot, config = open_chip(rest)
    try:
        return _rows(chip, slot, config)
    finally:
        close(chip.i2c)


def _rows(chip: Chip, slot: int, config: bytes) -> "list[tuple[str, str]]":
    used = chip.run(reading, chip, 0)
    return [
        (
            "chip",
            "ATECC608 at 0x%02X, revision %s" % (chip.address, hexadecimal(config[4:8])),
        ),
        ("serial number", hexadecimal(serial_number(config))),
        ("configuration", _locked(config[87]) + ", " + _whose(config)),
        ("data zone", _locked(config[86])),
        ("slot", _slot(chip, slot, config)),
        ("a signature", "%d ms at most" % SIGN_MS[chip.divider]),
        (
            "counter 0",
            "%d of %d used; the rest is %d years of one raise an hour"
            % (used, LIMIT, (LIMIT - used) // 8766),
        ),
    ]


def _locked(lock: int) -> str:
    return "not locked" if lock == OPEN else "locked"


def _whose(config: bytes) -> str:
    if not profile.differences(config):
        return "ours"
    return "as delivered or for something else: `tally key provision`" if config[87] else "not ours"


def _slot(chip: Chip, slot: int, config: bytes) -> str:
    if config[87]:
        return "%d, which can have a key when the configuration is locked" % slot
    if not signs(config, slot):
        good = ", ".join([str(one) for one in range(SLOTS) if signs(config, one)]) or "none"
        return "%d, which does not sign; slots that do: %s" % (slot, good)
    if chip.run(commands.public_key, chip, slot) is None:
        return "%d, without a key: `tally key create`" % slot
    locked = not config[88 + (slot >> 3)] >> (slot & 7) & 1
    replaced = "nobody can replace" if locked else "whoever has the chip can replace"
    return "%d, with a key that %s" % (slot, replaced)
