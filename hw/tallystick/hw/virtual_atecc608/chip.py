# CPython only
"""The chip on its bus: waking, packets, busy times, the watchdog, loss of power.

It has the methods of `machine.I2C`, so a driver takes it in place of a bus. Where the public data
sheets leave a case open, the chip refuses: what works here is meant to work on the maker's chip.
"""

import os
import threading
import time
from collections.abc import Callable

from tallystick.hw.virtual_atecc608 import digests, keys, times, zones
from tallystick.hw.virtual_atecc608.chip_file import ChipFile, Memory
from tallystick.hw.virtual_atecc608.core import Core
from tallystick.hw.virtual_atecc608.crc import crc16
from tallystick.hw.virtual_atecc608.eeprom import SERIAL_BYTES, Eeprom
from tallystick.hw.virtual_atecc608.faults import Faults
from tallystick.hw.virtual_atecc608.registers import Registers
from tallystick.hw.virtual_atecc608.status import AFTER_WAKE, CRC, EXECUTION, PARSE, Refused
from tallystick.hw.virtual_atecc608.status import WATCHDOG as NEAR_WATCHDOG

RESET, SLEEP, IDLE, COMMAND = 0x00, 0x01, 0x02, 0x03
GENERAL_CALL = 0x00
PACKET_BYTES_MIN, PACKET_BYTES_MAX = 7, 155
READ_BYTES_MAX = 4_096
BUS_HZ = 100_000
NACK_ERRNO = 5  # EIO, as machine.I2C raises it

COMMANDS = {
    times.INFO: zones.info,
    times.RANDOM: keys.random,
    times.NONCE: keys.nonce,
    times.GENKEY: keys.genkey,
    times.SIGN: keys.sign,
    times.VERIFY: keys.verify,
    times.READ: zones.read,
    times.WRITE: zones.write,
    times.LOCK: zones.lock,
    times.UPDATE_EXTRA: zones.update_extra,
    times.COUNTER: zones.counter,
    times.SHA: digests.sha,
    times.SELFTEST: digests.self_test,
}
# Of the real chip, and not of this one: MAC, GenDig, DeriveKey, CheckMac, ECDH, PrivWrite, AES,
# KDF, SecureBoot. Refused, never answered falsely.
NOT_MODELLED = frozenset((0x08, 0x15, 0x1C, 0x28, 0x43, 0x46, 0x51, 0x56, 0x80))


class VirtualAtecc608:
    """A chip in software. It protects nothing: whoever reads its memory has its keys.

    time_scale: 1.0 takes the real chip's longest times, 0.0 no time. clock: seconds, never back.
    """

    _awake: bool
    _woke: float
    _ready: float  # no transfer is acknowledged before
    _address: int

    def __init__(
        self,
        memory: Memory,
        *,
        time_scale: float = 1.0,
        clock: "Callable[[], float]" = time.monotonic,
        entropy: "Callable[[int], bytes]" = os.urandom,
        faults: "Faults | None" = None,
        bus_hz: int = BUS_HZ,
    ) -> None:
        self.faults = faults or Faults()
        self.bus_hz = bus_hz
        self._memory = memory
        self._time_scale, self._clock, self._entropy = time_scale, clock, entropy
        self._bus = threading.RLock()  # one transfer at a time
        self._start()

    @classmethod
    def open(
        cls, path: str, *, time_scale: float = 1.0, faults: "Faults | None" = None
    ) -> "VirtualAtecc608":
        """The chip in the file `path`, for this process alone until close()."""
        return cls(ChipFile(path), time_scale=time_scale, faults=faults)

    @classmethod
    def new(cls, path: str, *, divider: int = 0, unique: "bytes | None" = None) -> None:
        """Make a chip as it leaves the maker, in a new file.

        unique: the six bytes of its serial number that are its own. KeyDriverError where the file
        exists or cannot be made.
        """
        own = os.urandom(SERIAL_BYTES - 3) if unique is None else unique
        ChipFile(path, Eeprom.factory(own, times.DIVIDER_BITS[divider])).close()

    @property
    def eeprom(self) -> Eeprom:
        """Its memory: for tests, and for tools that show a chip."""
        return self._memory.eeprom

    # The bus, as machine.I2C has it.

    def scan(self) -> "list[int]":
        """The chip's address when it is awake and not busy."""
        with self._bus:
            return [self._address] if self._acknowledges(self._address) else []

    def writeto(self, address: int, data: bytes, stop: bool = True) -> int:  # noqa: ARG002, FBT001, FBT002
        """Send a word address and what follows; OSError where nobody acknowledges."""
        data = bytes(data)
        with self._bus:
            if address == GENERAL_CALL:
                # Nobody acknowledges, but SDA stays low for the eight bits of the address.
                self.wake_pulse(8 / self.bus_hz)
                raise OSError(NACK_ERRNO, "not acknowledged")
            self._need_acknowledge(address)
            if data:
                self._word(data[0], data[1:])
            return len(data)

    def readfrom(self, address: int, size: int, stop: bool = True) -> bytes:  # noqa: ARG002, FBT001, FBT002
        """The next `size` bytes of the answer, FF where it has no more."""
        if not 0 <= size <= READ_BYTES_MAX:
            message = f"a read is of 0 to {READ_BYTES_MAX:,} bytes"
            raise ValueError(message)
        with self._bus:
            self._need_acknowledge(address)
            found = self._answer[self._at : self._at + size]
            self._at += len(found)
            return found + b"\xff" * (size - len(found))

    def readfrom_into(self, address: int, buffer: bytearray, stop: bool = True) -> None:  # noqa: FBT001, FBT002
        """As readfrom, into `buffer`."""
        buffer[:] = self.readfrom(address, len(buffer), stop)

    def wake_pulse(self, seconds: float) -> None:
        """SDA is low for so long."""
        with self._bus:
            self._tick()
            if self._powered and not self._awake and not self.faults.unplugged:
                if seconds < times.WAKE_LOW_S:
                    return
                self._awake, self._woke = True, self._clock()
                self._ready = self._woke + times.WAKE_DELAY_S * self._time_scale
                self._put(bytes((AFTER_WAKE,)))

    # Power.

    def power(self, on: bool) -> None:  # noqa: FBT001 - a switch
        """Switch it off or on; it starts asleep."""
        with self._bus:
            self._start()
            self._powered = on

    def close(self) -> None:
        """Give the file back."""
        self._memory.close()

    def _start(self) -> None:
        self._powered = True
        self._registers = Registers()
        self._awake = False
        self._woke = self._ready = 0.0
        self._answer, self._at = b"", 0
        self._address = self.eeprom.address

    def _go_down(self, *, keep: bool) -> None:
        """Idle keeps the registers; sleep loses them and takes a new address."""
        self._awake = False
        self._answer, self._at = b"", 0
        if not keep:
            self._registers = Registers()
            self._address = self.eeprom.address

    def _tick(self) -> None:
        """The watchdog sends the chip to sleep, whatever it does; a chip that hangs stays so."""
        if self._awake and self._ready != float("inf") and self._watchdog_left() <= 0:
            self._go_down(keep=False)

    def _watchdog_left(self) -> float:
        return self._woke + times.watchdog_s(self.eeprom.chip_mode) - self._clock()

    def _acknowledges(self, address: int) -> bool:
        self._tick()
        if self.faults.unplugged or not self._powered or self.faults.take("nack"):
            return False
        return self._awake and address == self._address and self._clock() >= self._ready

    def _need_acknowledge(self, address: int) -> None:
        if not self._acknowledges(address):
            raise OSError(NACK_ERRNO, "not acknowledged")

    def _word(self, word: int, rest: bytes) -> None:
        if word == RESET:
            self._at = 0
        elif word in (SLEEP, IDLE):
            self._go_down(keep=word == IDLE)
        elif word == COMMAND:
            self._command(rest)
        else:
            raise OSError(NACK_ERRNO, "not acknowledged")

    def _put(self, content: bytes) -> None:
        packet = bytes((len(content) + 3,)) + content
        crc = crc16(packet)
        if self.faults.take("crc"):
            crc = bytes((crc[0] ^ 1, crc[1]))
        self._answer, self._at = packet + crc, 0

    def _command(self, packet: bytes) -> None:
        """Run a packet; the answer can be read when the chip is no longer busy."""
        whole = PACKET_BYTES_MIN <= len(packet) <= PACKET_BYTES_MAX and packet[0] == len(packet)
        if not whole or crc16(packet[:-2]) != packet[-2:]:
            return self._put(bytes((CRC,)))
        opcode = packet[1]
        takes = (
            times.execution_s(opcode, self.eeprom.chip_mode) * self._time_scale * self.faults.slow
        )
        if takes >= self._watchdog_left():
            return self._put(bytes((NEAR_WATCHDOG,)))
        if opcode != times.SHA:
            self._registers.sha = None
        answer = self._run(opcode, packet[2], packet[3] | packet[4] << 8, packet[5:-2])
        if self._awake:
            self._ready = float("inf") if self.faults.stuck else self._clock() + takes
            self.faults.stuck = False
            self._put(answer)
        return None

    def _run(self, opcode: int, p1: int, p2: int, data: bytes) -> bytes:
        command = COMMANDS.get(opcode)
        if command is None:
            return bytes((EXECUTION if opcode in NOT_MODELLED else PARSE,))
        changed = self.eeprom.copy()
        core = Core(changed, self._registers, self._entropy, self.faults.self_test)
        try:
            answer = command(core, p1, p2, data)
        except Refused as refused:
            return bytes((refused.status,))
        if changed.memory != self.eeprom.memory:
            self._write_eeprom(changed)
        return answer

    def _write_eeprom(self, changed: Eeprom) -> None:
        """All of a command's change, or none where power is lost before it."""
        cut, self.faults.cut = self.faults.cut, ""
        if cut != "before":
            self._memory.save(changed)
        if cut:
            self._start()
