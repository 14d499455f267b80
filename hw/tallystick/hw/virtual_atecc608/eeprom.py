# CPython only
"""What the chip keeps without power: configuration, OTP and data zones, 1,400 bytes.

Layout of the configuration zone (ATECC608 data sheet, "EEPROM Configuration Zone"): serial number
[0:4] and [8:13], revision [4:8], I2C address [16], CountMatch [18], ChipMode [19], SlotConfig
[20:52], Counter0 [52:60], Counter1 [60:68], UserExtra [84], UserExtraAdd [85], LockValue [86],
LockConfig [87], SlotLocked [88:90], KeyConfig [96:128].
"""

from cryptography.hazmat.primitives.asymmetric import ec

from tallystick.evidence.errors import Malformed

CONFIG_BYTES, OTP_BYTES = 128, 64
SLOT_BYTES = (36,) * 8 + (416,) + (72,) * 7
SLOT_AT = tuple(CONFIG_BYTES + OTP_BYTES + sum(SLOT_BYTES[:slot]) for slot in range(16))
EEPROM_BYTES = CONFIG_BYTES + OTP_BYTES + sum(SLOT_BYTES)
SERIAL_BYTES = 9
PRIVATE_AT = 4  # a private key's 32 bytes follow four of padding
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
TYPE_P256 = 4

UNLOCKED, LOCKED = 0x55, 0x00
ADDRESS_AT, COUNT_MATCH_AT, CHIP_MODE_AT = 16, 18, 19
USER_EXTRA_AT, USER_EXTRA_ADD_AT, LOCK_VALUE_AT, LOCK_CONFIG_AT, SLOT_LOCKED_AT = 84, 85, 86, 87, 88
COUNTER_AT = (52, 60)
COUNTER_MAX = 65_535 * 32 + 31  # 2,097,151

# As chips leave the maker: slots 0 to 2 for P-256 keys, nothing locked.
_REVISION = bytes.fromhex("00006003")
_ADDRESSING = bytes.fromhex("010100c0000000")
_SLOT_CONFIG = bytes.fromhex("832087208f20c48f8f8f8f8f9f8faf8f") + bytes(14) + b"\xaf\x8f"
_KEY_CONFIG = bytes.fromhex("3300" * 3 + "1c00" * 5 + "3c00" * 7 + "1c00")


class Eeprom:
    """The memory, and what its bits mean; it knows nothing of commands."""

    def __init__(self, memory: bytes) -> None:
        if len(memory) != EEPROM_BYTES:
            raise Malformed("bad-chip", f"a chip's memory has {EEPROM_BYTES} bytes")
        self.memory = bytearray(memory)
        if self.memory[:2] != b"\x01\x23" or self.memory[12] != 0xEE:
            raise Malformed("bad-chip", "a chip's serial number is 01 23 .. .. .. .. .. .. EE")
        for at in (LOCK_VALUE_AT, LOCK_CONFIG_AT):
            if self.memory[at] not in (UNLOCKED, LOCKED):
                raise Malformed("bad-chip", f"configuration byte {at} is neither 55 nor 00")
        if self.memory[LOCK_CONFIG_AT] == UNLOCKED and self.memory[LOCK_VALUE_AT] == LOCKED:
            raise Malformed("bad-chip", "the data zone is locked, the configuration is not")

    @classmethod
    def factory(cls, unique: bytes, divider_bits: int = 0) -> "Eeprom":
        """A new chip's memory; `unique`: the six bytes of its serial number that are its own."""
        if len(unique) != SERIAL_BYTES - 3:
            raise Malformed("bad-chip", "six bytes of a serial number are the chip's own")
        config = b"\x01\x23" + unique[:2] + _REVISION + unique[2:] + b"\xee"
        config += _ADDRESSING[:-1] + bytes((divider_bits,)) + _SLOT_CONFIG
        config += 2 * bytes.fromhex("ffffffff00000000") + bytes(18)
        config += bytes((UNLOCKED, UNLOCKED, 0xFF, 0xFF)) + bytes(6) + _KEY_CONFIG
        return cls(config + b"\xff" * OTP_BYTES + bytes(sum(SLOT_BYTES)))

    def copy(self) -> "Eeprom":
        """Another memory with the same bytes."""
        return Eeprom(bytes(self.memory))

    @property
    def config(self) -> bytes:
        """The configuration zone."""
        return bytes(self.memory[:CONFIG_BYTES])

    @property
    def otp(self) -> bytes:
        """The OTP zone."""
        return bytes(self.memory[CONFIG_BYTES : CONFIG_BYTES + OTP_BYTES])

    @property
    def data(self) -> bytes:
        """All slots."""
        return bytes(self.memory[CONFIG_BYTES + OTP_BYTES :])

    @property
    def serial(self) -> bytes:
        """Nine bytes."""
        return bytes(self.memory[0:4] + self.memory[8:13])

    @property
    def chip_mode(self) -> int:
        """Clock divider, watchdog and address bits."""
        return self.memory[CHIP_MODE_AT]

    @property
    def address(self) -> int:
        """The I2C address, 7 bits; UserExtraAdd replaces it where ChipMode allows."""
        extra = self.memory[USER_EXTRA_ADD_AT]
        return (extra if self.chip_mode & 1 and extra else self.memory[ADDRESS_AT]) >> 1

    @property
    def config_locked(self) -> bool:
        """Whether the configuration can change no more."""
        return self.memory[LOCK_CONFIG_AT] == LOCKED

    @property
    def data_locked(self) -> bool:
        """Whether slots and OTP follow their configuration."""
        return self.memory[LOCK_VALUE_AT] == LOCKED

    def slot(self, slot: int) -> bytes:
        """A slot's bytes."""
        return bytes(self.memory[SLOT_AT[slot] : SLOT_AT[slot] + SLOT_BYTES[slot]])

    def put_slot(self, slot: int, at: int, data: bytes) -> None:
        """Write into a slot."""
        begin = SLOT_AT[slot] + at
        self.memory[begin : begin + len(data)] = data

    def slot_config(self, slot: int) -> int:
        """SlotConfig: ReadKey 0-3, NoMac 4, LimitedUse 5, EncryptRead 6, IsSecret 7, write 8-15."""
        return int.from_bytes(self.memory[20 + 2 * slot : 22 + 2 * slot], "little")

    def key_config(self, slot: int) -> int:
        """KeyConfig: Private 0, PubInfo 1, KeyType 2-4, Lockable 5, ReqRandom 6, ReqAuth 7."""
        return int.from_bytes(self.memory[96 + 2 * slot : 98 + 2 * slot], "little")

    def key_type(self, slot: int) -> int:
        """4: P-256, 6: AES, 7: other data."""
        return self.key_config(slot) >> 2 & 7

    def slot_locked(self, slot: int) -> bool:
        """Whether the slot was locked by itself."""
        bits = int.from_bytes(self.memory[SLOT_LOCKED_AT : SLOT_LOCKED_AT + 2], "little")
        return not bits >> slot & 1

    def lock_slot(self, slot: int) -> None:
        """Clear the slot's bit of SlotLocked."""
        self.memory[SLOT_LOCKED_AT + slot // 8] &= ~(1 << slot % 8) & 0xFF

    def private_key(self, slot: int) -> "ec.EllipticCurvePrivateKey | None":
        """The slot's P-256 key, None where its bytes are none."""
        scalar = int.from_bytes(self.slot(slot)[PRIVATE_AT : PRIVATE_AT + 32], "big")
        if not 0 < scalar < P256_ORDER:
            return None
        return ec.derive_private_key(scalar, ec.SECP256R1())

    def counter(self, counter: int) -> int:
        """A counter's value; two unary halves take turns, so each bit is written once in 32."""
        at = COUNTER_AT[counter]
        unary_a, unary_b, tens_a, tens_b = (
            int.from_bytes(self.memory[at + step : at + step + 2], "big") for step in (0, 2, 4, 6)
        )
        done_a, done_b = 16 - unary_a.bit_count(), 16 - unary_b.bit_count()
        value_a = 32 * tens_a + done_a
        value_b = 32 * tens_b + done_b + 16 if done_b or tens_b else 0
        return max(value_a, value_b)

    def put_counter(self, counter: int, value: int) -> None:
        """Write a counter's eight bytes; a value over COUNTER_MAX has none."""
        if not 0 <= value <= COUNTER_MAX:
            raise Malformed("bad-chip", f"a counter's value is 0 to {COUNTER_MAX:,}")
        behind = max(value - 16, 0)
        halves = (0xFFFF >> value % 32, 0xFFFF >> behind % 32, value // 32, behind // 32)
        at = COUNTER_AT[counter]
        self.memory[at : at + 8] = b"".join(half.to_bytes(2, "big") for half in halves)
