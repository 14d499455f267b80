"""Commands of an ATECC608 that a recorder does not need while it records."""

# Generators for Chip.run and Chip.start.  Names and numbers as in the data sheet.

from tallystick.hw.atecc608_chip import EXECUTION, Chip, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.hw.atecc608_chip import Work

READ = 0x02
WRITE = 0x12
LOCK = 0x17
RANDOM = 0x1B
INFO = 0x30
GENKEY = 0x40
SELF_TEST = 0x77
INFO_MS = 5
READ_MS = 5
RANDOM_MS = 23
LOCK_MS = 35
WRITE_MS = 45
GENKEY_MS = (115, 215, 653)
SELF_TEST_MS = (250, 625, 2324)
ECC_FAULT = 0x05
BLOCK = 32
CONFIG_BLOCKS = 4
WHOLE_BLOCK = 0x80
LOCK_CONFIG = 0x00
LOCK_DATA_UNSEEN = 0x81
LOCK_SLOT = 0x02
# Random numbers, signing and verifying, SHA-256.
SELF_TESTS = 0x23


def info(chip: Chip) -> "Work":
    """The revision, 4 bytes; the third is the model: 60 for an ATECC608."""
    return (yield from chip.command(INFO, 0, 0, b"", 4, INFO_MS))


def random(chip: Chip) -> "Work":
    """32 bytes; before the configuration is locked they are always the same."""
    return (yield from chip.command(RANDOM, 0, 0, b"", 32, RANDOM_MS))


def read_config(chip: Chip) -> "Work":
    """The configuration zone, 128 bytes; also tells the chip's driver how slow the chip is."""
    config = b""
    for block in range(CONFIG_BLOCKS):
        config += yield from chip.command(READ, WHOLE_BLOCK, block << 3, b"", BLOCK, READ_MS)
    # ChipMode, bits 3 to 7; what is unknown is taken for the slowest.
    chip.divider = {0: 0, 5: 1}.get(config[19] >> 3, 2)
    return config


def write_config(chip: Chip, config: bytes) -> "Work":
    """All of the configuration zone that Write can write: bytes 16 to 83 and 88 to 127."""
    at = 16
    while at < len(config):
        if at == 84:  # UserExtra and the locks have commands of their own
            at += 4
        # The block with the locks, and the one with the serial number, go word by word.
        size = BLOCK if at in (32, 96) else 4
        p1 = WHOLE_BLOCK if size == BLOCK else 0
        place = (at >> 5) << 3 | (at & 31) >> 2
        yield from chip.command(WRITE, p1, place, config[at : at + size], 1, WRITE_MS)
        at += size


def lock_config(chip: Chip, crc: bytes) -> "Work":
    """For ever, if the zone has this checksum: what was shown is what is locked."""
    yield from chip.command(LOCK, LOCK_CONFIG, int.from_bytes(crc, "little"), b"", 1, LOCK_MS)


def lock_data(chip: Chip) -> "Work":
    """For ever; without a checksum, since the slots hold what nobody can read."""
    yield from chip.command(LOCK, LOCK_DATA_UNSEEN, 0, b"", 1, LOCK_MS)


def lock_slot(chip: Chip, slot: int) -> "Work":
    """For ever: no key is made in this slot again."""
    yield from chip.command(LOCK, slot << 2 | LOCK_SLOT, 0, b"", 1, LOCK_MS)


def public_key(chip: Chip, slot: int) -> "Work":
    """X || Y of the slot's private key, 64 bytes; None where it holds none."""
    try:
        return (yield from chip.command(GENKEY, 0, slot, b"", 64, GENKEY_MS))
    except Refused as error:
        if error.status not in (EXECUTION, ECC_FAULT):
            raise
        return None


def generate_key(chip: Chip, slot: int, over: "list[bool]") -> "Work":
    """Make the slot's key in the chip; the public key, or None where there is a key already.

    over: [True] to make another in its place, which is the end of the one that was there.
    """
    if not over and (yield from public_key(chip, slot)):
        return None
    # From here on what is found is ours: the answer may be lost, and this made anew.
    over.append(True)
    return (yield from chip.command(GENKEY, 4, slot, b"", 64, GENKEY_MS))


def chip_tests(chip: Chip) -> "Work":
    """The chip's own tests; Refused with the tests that failed."""
    yield from chip.command(SELF_TEST, SELF_TESTS, 0, b"", 1, SELF_TEST_MS)
