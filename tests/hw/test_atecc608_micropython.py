"""The ATECC608's driver on real MicroPython, 64 and 32 bits, against a virtual chip over TCP."""

import re
import threading
from pathlib import Path
from typing import Any

import pytest

from support.chips608 import SERIAL, UNIQUE, our_chip
from tallystick.evidence.keys import ES256, from_raw
from tallystick.hw import boards
from tallystick.hw.virtual_atecc608 import Eeprom, VirtualAtecc608
from tallystick.hw.virtual_atecc608.server import serving
from tallystick.tools.micropython import MicroPython

DEVICE = Path(__file__).parent / "chip_device.py"
MESSAGE = b"a decision's checkpoint"
# A board's machine module, with the chip at the other end of its bus.
MACHINE = """
from tallystick.hw.atecc608_tcp import TcpI2C

class Pin:
    def __init__(self, number):
        self.number = number

class I2C(TcpI2C):
    def __init__(self, id, scl, sda, freq):
        assert (id, scl.number, sda.number, freq) == (0, 5, 4, 100000)
        super().__init__("127.0.0.1", %d)

    lock = unlock = None
"""
UNPLUGGED_S = 4.0  # longer than the driver's patience
# All of the driver, provisioning included, with TCP in place of a bus.
HEAP_32 = "64k"


class Wires(VirtualAtecc608):
    """Somebody pulls the chip's wires when it signs after it has counted, and puts them back."""

    counted = pulled = 0

    def writeto(self, address: int, data: bytes, stop: bool = True) -> int:
        opcode = data[2:4]
        self.counted += opcode == b"\x24\x01"
        if opcode == b"\x41\xa0" and self.counted == 2 and not self.pulled:
            self.pulled = 1
            self.faults.unplugged = True
            threading.Timer(UNPLUGGED_S, self.plug).start()
        return super().writeto(address, data, stop)

    def plug(self) -> None:
        self.faults.unplugged = False
        self.power(on=True)


def run(interpreter: MicroPython, library: Path, chip: VirtualAtecc608, *more: str) -> str:
    heap = HEAP_32 if interpreter.bits == 32 else None
    with serving(chip) as port:
        done = interpreter.run(
            str(DEVICE), f"atecc608:tcp=127.0.0.1:{port}", *more, heap=heap, path=[library]
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def word(said: str, name: str) -> str:
    (found,) = re.findall(rf"^{name} (.*)$", said, re.MULTILINE)
    return str(found)


@pytest.fixture(params=[64, 32])
def interpreter(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"micropython{request.param}")


def check(said: str) -> None:
    public = from_raw(ES256, bytes.fromhex(word(said, "PUBLIC")))
    public.verify(bytes.fromhex(word(said, "SIGNATURE")), MESSAGE)
    assert word(said, "VERIFIES") == "bad-signature"
    assert word(said, "COUNTS") == "2 2097151"


def test_a_board_sets_its_own_chip_up_and_uses_it(
    interpreter: MicroPython, device_library: Path
) -> None:
    chip = our_chip(Eeprom.factory(UNIQUE))
    check(run(interpreter, device_library, chip, SERIAL))
    eeprom = chip.eeprom
    assert eeprom.config_locked and eeprom.data_locked and eeprom.slot_locked(0)
    assert eeprom.counter(0) == 2


def test_real_busy_times(interpreter: MicroPython, device_library: Path) -> None:
    check(run(interpreter, device_library, our_chip(time_scale=1.0)))


def test_a_board_outlives_noise_and_pulled_wires(
    interpreter: MicroPython, device_library: Path
) -> None:
    chip = Wires(our_chip()._memory, time_scale=0.2)
    chip.faults.crc = 2
    chip.faults.nack = 2
    said = run(interpreter, device_library, chip, "", "unplug")
    check(said)
    assert chip.pulled
    assert word(said, "BACK") in ("chip-lost", "no-chip", "chip-lost no-chip")


def test_a_board_loses_power_while_it_counts(
    interpreter: MicroPython, device_library: Path
) -> None:
    chip = our_chip()
    chip.faults.cut = "after"
    check(run(interpreter, device_library, chip))


def test_a_board_s_own_bus(interpreter: MicroPython, device_library: Path, tmp_path: Path) -> None:
    """`id`, `scl` and `sda` make a machine.I2C, as the description of the Pico names them."""
    chip = our_chip()
    uri = boards.expand("atecc608:board=raspberry-pi-pico")
    heap = HEAP_32 if interpreter.bits == 32 else None
    with serving(chip) as port:
        (tmp_path / "machine.py").write_text(MACHINE % port)
        paths = [tmp_path, device_library]
        done = interpreter.run(str(DEVICE), uri, heap=heap, path=paths)
    assert done.returncode == 0, done.stdout + done.stderr
    check(done.stdout)
