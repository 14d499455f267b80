"""Whatever a bus answers, each operation ends in bounded transfers with a result or our error."""

from tallystick.evidence.errors import KeyDriverError, Unverified
from tallystick.hw import atecc608_chip
from tallystick.hw import atecc608_commands as commands
from tallystick.hw.atecc608 import signing, verifying
from tallystick.hw.atecc608_chip import AFTER_WAKE, Chip, crc16
from tallystick.hw.atecc608_counter import raising

# A script of the bus: each read takes a byte and, for GIVE, so many bytes that follow a count.
NACK, WAKE, GIVE = 0, 1, 2
TRANSFERS_MAX = 2_000
SIZES = {"info": 4, "config": 128, "signature": 64}


def _answer(content: bytes) -> bytes:
    packet = bytes((len(content) + 3,)) + content
    packet += crc16(packet)
    return bytes((GIVE, len(packet))) + packet


SEEDS = (
    bytes((WAKE,)) + _answer(b"\0") + bytes((NACK, WAKE)) + _answer(bytes(range(64))),
    bytes((WAKE,)) + _answer(b"\x00\x00\x60\x03"),
    (bytes((WAKE,)) + _answer(bytes(32))) * 4,
    bytes((WAKE,)) + _answer(b"\x05\0\0\0") + bytes((WAKE,)) + _answer(b"\x06\0\0\0"),
    (bytes((WAKE,)) + _answer(b"\x0f")) * 8,
    (bytes((WAKE,)) + _answer(b"\xee")) * 8,
    bytes((WAKE,)) + _answer(b"\xff") + bytes((WAKE,)) + _answer(b"\x11"),
)


class _Bus:
    def __init__(self, script: bytes) -> None:
        self.script = script
        self.at = self.transfers = 0

    def scan(self) -> list[int]:
        return []

    def writeto(self, _address: int, data: bytes) -> int:
        self.transfers += 1
        return len(data)

    def readfrom(self, _address: int, size: int) -> bytes:
        self.transfers += 1
        what = self.script[self.at : self.at + 1]
        self.at += 1
        if what == bytes((WAKE,)):
            return AFTER_WAKE[:size] + b"\xff" * (size - 4)
        if what != bytes((GIVE,)):
            raise OSError(5)
        count = self.script[self.at] if self.at < len(self.script) else 0
        found = self.script[self.at + 1 : self.at + 1 + count][:size]
        self.at += 1 + count
        return found + b"\xff" * (size - len(found))


def target(data: bytes) -> None:
    names = vars(atecc608_chip)
    real = {name: names[name] for name in ("ticks_ms", "sleep_ms")}
    now = [0]

    def sleep_ms(ms: int) -> None:
        now[0] += ms

    names.update(ticks_ms=lambda: now[0], sleep_ms=sleep_ms)
    try:
        for make, arguments, size in (
            (commands.info, (), SIZES["info"]),
            (commands.read_config, (), SIZES["config"]),
            (signing, (0, bytes(32)), SIZES["signature"]),
            (verifying, (bytes(64), bytes(64), bytes(32)), None),
            (raising, (0, []), None),
        ):
            bus = _Bus(data)
            chip = Chip(bus, 0x60)
            try:
                result = chip.run(make, chip, *arguments)
            except (KeyDriverError, Unverified):
                result = None
            assert result is None or size is None or len(result) == size
            assert bus.transfers < TRANSFERS_MAX
    finally:
        names.update(real)
