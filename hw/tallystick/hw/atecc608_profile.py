"""How an ATECC608 is set up for us, byte by byte (data sheet, "EEPROM Configuration Zone").

Slots 0 to 3 hold private P-256 keys that sign, are made in the chip, and are neither read nor
written: slot 0 is the first key, 1 to 3 are for its successors (rotation).  All other slots are
closed for ever: nothing else can be kept in this chip.  No slot is needed for public keys of
gateways, since Verify takes the key with the command.  Counter 0 counts boots and hours (docs/
protocol.md, 2.1); counter 1 is free.
"""

SIGNING_SLOTS = 4
CONFIG_SIZE = 128
# What Write does not reach: UserExtra, UserExtraAdd, LockValue, LockConfig.
UNWRITTEN = (84, 88)

_KEY_SLOT = b"\x81\x20" * SIGNING_SLOTS
_CLOSED_SLOT = b"\x80\x80" * 12
_KEY = b"\x33\x00" * SIGNING_SLOTS
_CLOSED = b"\x1c\x00" * 12

# (first byte, its bytes, or how many are kept as they are; what they mean).
PROFILE = (
    (16, 1, "I2C address, twice the seven bits: kept"),
    (17, b"\x00", "reserved"),
    (18, b"\x00", "CountMatch: the counters limit the use of no key"),
    (19, b"\x00", "ChipMode: full speed (a signature takes 115 ms at most), watchdog of 1.3 s"),
    (
        20,
        _KEY_SLOT,
        "SlotConfig 0 to 3: GenKey makes a secret, it signs digests from outside, nothing else",
    ),
    (28, _CLOSED_SLOT, "SlotConfig 4 to 15: closed, never read or written"),
    (52, 8, "counter 0, boots and hours: kept, it starts at 0"),
    (60, 8, "counter 1, free: kept"),
    (68, b"\x00", "UseLock: no key's uses are counted"),
    (69, b"\x00", "VolatileKeyPermission: off"),
    (70, b"\x00\x00", "SecureBoot: off"),
    (72, b"\x00\x00\x00", "KDF: not used"),
    (75, b"\x00" * 9, "reserved"),
    (88, b"\xff\xff", "SlotLocked: no slot is locked by itself yet"),
    (90, b"\x00\x00", "ChipOptions: nothing encrypted between chip and host, no test at power-on"),
    (92, b"\x00" * 4, "X509format: not used"),
    (
        96,
        _KEY,
        "KeyConfig 0 to 3: a private P-256 key that gives its public key; lockable by itself",
    ),
    (104, _CLOSED, "KeyConfig 4 to 15: no key"),
)


def wanted(config: bytes) -> bytes:
    """The configuration zone that this chip is to have: ours, with what is kept of its own."""
    made = bytearray(config)
    for first, content, _ in PROFILE:
        if not isinstance(content, int):
            made[first : first + len(content)] = content
    return bytes(made)


def differences(config: bytes) -> "list[int]":
    """Bytes of a chip that are not as they are to be; locks of slots are no difference."""
    want = wanted(config)
    return [at for at in range(16, CONFIG_SIZE) if config[at] != want[at] and at not in (88, 89)]


def rows(config: bytes) -> "list[tuple[str, str, str]]":
    """(bytes, what they will be in hexadecimal, what it means) of a chip, to be shown."""
    want = wanted(config)
    found = []
    for first, content, meaning in PROFILE:
        size = content if isinstance(content, int) else len(content)
        place = "%d" % first if size == 1 else "%d-%d" % (first, first + size - 1)
        found.append((place, _short(want[first : first + size]), meaning))
    return found


def _short(data: bytes) -> str:
    # The same two bytes for many slots read best once.
    text = " ".join(["%02x" % byte for byte in data])
    if len(data) > 9 and data == data[:2] * (len(data) >> 1):
        return "%s (%d times)" % (text[:5], len(data) >> 1)
    return text
