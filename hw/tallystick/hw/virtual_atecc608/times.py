# CPython only
"""How long each command takes at most, by clock divider (ATECC608 data sheet, command times)."""

INFO, RANDOM, NONCE, GENKEY, SIGN, VERIFY = 0x30, 0x1B, 0x16, 0x40, 0x41, 0x45
READ, WRITE, LOCK, UPDATE_EXTRA = 0x02, 0x12, 0x17, 0x20
COUNTER, SHA, SELFTEST = 0x24, 0x47, 0x77

# Opcode -> milliseconds at M0, M1, M2.
EXECUTION_MS = {
    INFO: (5, 5, 5),
    RANDOM: (23, 23, 23),
    NONCE: (20, 20, 20),
    GENKEY: (115, 215, 653),
    SIGN: (115, 220, 665),
    VERIFY: (105, 295, 1085),
    READ: (5, 5, 5),
    WRITE: (45, 45, 45),
    LOCK: (35, 35, 35),
    UPDATE_EXTRA: (10, 10, 10),
    COUNTER: (25, 25, 25),
    SHA: (36, 42, 75),
    SELFTEST: (250, 625, 2324),
}
REFUSED_MS = 1  # a packet that is no command is refused as soon as it is read

# ChipMode bits 3 to 7 -> divider.
DIVIDERS = {0b00000: 0, 0b00101: 1, 0b01101: 2}
DIVIDER_BITS = {divider: bits << 3 for bits, divider in DIVIDERS.items()}

WAKE_LOW_S = 60e-6  # SDA low for this long wakes the chip
WAKE_DELAY_S = 1.5e-3  # then it needs this long
WATCHDOG_S = 1.3
WATCHDOG_LONG_S = 10.0  # with ChipMode bit 2


def execution_s(opcode: int, chip_mode: int) -> float:
    """The longest execution of `opcode`, in seconds; an unknown divider runs as the slowest."""
    divider = DIVIDERS.get(chip_mode >> 3, 2)
    times = EXECUTION_MS.get(opcode)
    return (times[divider] if times else REFUSED_MS) / 1000


def watchdog_s(chip_mode: int) -> float:
    """How long after its wake the chip goes to sleep by itself, in seconds."""
    return WATCHDOG_LONG_S if chip_mode & 0x04 else WATCHDOG_S
