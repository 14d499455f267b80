# CPython only
"""What the chip forgets when it sleeps: TempKey, the message digest buffer, a running SHA."""

from typing import Any


class Registers:
    """Volatile memory; an idle chip keeps it, a sleeping one does not."""

    def __init__(self) -> None:
        self.temp_key: "bytes | None" = None  # 32 or 64 bytes
        self.temp_key_random = False  # the chip's own random number is in it
        self.temp_key_slot = 0
        self.temp_key_genkey = False  # it holds the digest of a public key
        self.digest_buffer: "bytes | None" = None  # 32 or 64 bytes
        self.sha: "Any" = None

    def load_temp_key(self, value: bytes, *, random: bool) -> None:
        """Nonce, SHA and GenKey put a value there."""
        self.temp_key, self.temp_key_random = value, random
        self.temp_key_slot, self.temp_key_genkey = 0, False

    def state(self) -> bytes:
        """Info's two bytes of device state."""
        low = self.temp_key_slot | self.temp_key_random << 4 | self.temp_key_genkey << 6
        return bytes((low, 0x80)) if self.temp_key is not None else bytes(2)
