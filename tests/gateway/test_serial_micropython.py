"""Robots with MicroPython on a serial line to a real gateway, end to end (fault F22)."""

import subprocess
from pathlib import Path

import pytest

from gateway.test_serial import ACME, running
from support import wire
from support.serialsite import decisions, port_state, robot, serial_site
from support.site import until
from support.wire import Wire
from tallystick.gateway import limits
from tallystick.tools.micropython import MicroPython

ROBOT = Path(__file__).parents[1] / "recorder" / "robot.py"
WAIT_S = 60


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SERIAL_RESCAN_S", 0.1)
    monkeypatch.setattr(limits, "SERIAL_STATE_S", 0.2)
    monkeypatch.setattr(limits, "WATCHDOG_TICK_S", 0.1)


def started(
    interpreter: MicroPython, library: Path, folder: Path, count: int, terminal: int | None = None
) -> "subprocess.Popen[str]":
    argv = interpreter.argv(str(ROBOT), str(folder / "tallystick.json"), str(count))
    return subprocess.Popen(
        argv,
        env=interpreter.environment([library]),
        text=True,
        stdin=terminal,
        stdout=subprocess.PIPE if terminal is None else terminal,
        stderr=subprocess.STDOUT if terminal is None else subprocess.PIPE,
    )


def ended(process: "subprocess.Popen[str]") -> None:
    try:
        out, _ = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
    assert process.returncode == 0, out


def whole_way(
    interpreter: MicroPython, library: Path, tmp_path: Path, count: int, faults: bool
) -> None:
    with Wire(tmp_path / "dev", buffer_bytes=512) as cable:
        site = serial_site(tmp_path / "gateway", ACME, str(cable.gateway))
        robot(site, tmp_path / "robot", f"serial:{cable.device}")
        if faults:
            cable.up, cable.down = wire.noisy(5, 3000), wire.noisy(6, 3000)
        with running(site) as gateway:
            process = started(interpreter, library, tmp_path / "robot", count)
            if faults:
                until(lambda: len(decisions(site)) > count // 4, "some custody", WAIT_S)
                cable.unplug()
                until(lambda: not any(row["open"] for row in gateway.serial.state()), "its end")
                cable.plug()
            ended(process)
            until(lambda: port_state(site).get("sessions"), "the counts")
    assert decisions(site) == list(range(count))
    assert set(site.status()["refused"]) <= {"replayed"}


def test_64_bits(tmp_path: Path, micropython64: MicroPython, device_library: Path) -> None:
    whole_way(micropython64, device_library, tmp_path, 300, faults=False)


def test_32_bits(tmp_path: Path, micropython32: MicroPython, device_library: Path) -> None:
    whole_way(micropython32, device_library, tmp_path, 100, faults=False)


def test_64_bits_noisy_and_unplugged(
    tmp_path: Path, micropython64: MicroPython, device_library: Path
) -> None:
    whole_way(micropython64, device_library, tmp_path, 300, faults=True)


# What a port of MicroPython offers as a UART, over a path: any() bytes wait, read() and write()
# never do, and pins are numbers that somebody made into Pins.
MACHINE = """
import select

class Pin:
    def __init__(self, number):
        self.number = number

class UART:
    def __init__(self, number, baudrate, timeout, rxbuf, txbuf, tx, rx):
        assert (number, baudrate, timeout, tx.number, rx.number) == (1, 57600, 0, 4, 5)
        assert rxbuf == 512 and txbuf == 512
        self.file = open({path!r}, "r+b", 0)
        self.poll = select.poll()
        self.poll.register(self.file, select.POLLIN)
        self.waiting = b""

    def any(self):
        while len(self.waiting) < 512 and self.poll.poll(0):
            self.waiting += self.file.read(1)
        return len(self.waiting)

    def read(self, size):
        data, self.waiting = self.waiting[:size], self.waiting[size:]
        return data or None

    def write(self, data):
        # As one whose buffer is nearly full.
        return self.file.write(data[:40])

    def deinit(self):
        self.file.close()
"""


def test_a_uart(tmp_path: Path, micropython64: MicroPython, device_library: Path) -> None:
    with Wire(tmp_path / "dev", buffer_bytes=512) as cable:
        site = serial_site(tmp_path / "gateway", ACME, str(cable.gateway))
        robot(site, tmp_path / "robot", "serial:uart=1;tx=4;rx=5;baud=57600")
        (tmp_path / "board").mkdir()
        source = MACHINE.format(path=str(cable.device))
        (tmp_path / "board" / "machine.py").write_text(source)
        argv = (str(ROBOT), str(tmp_path / "robot" / "tallystick.json"), "60")
        with running(site):
            done = micropython64.run(
                *argv, path=[tmp_path / "board", device_library], timeout_s=WAIT_S
            )
        assert done.returncode == 0, done.stdout + done.stderr
    assert decisions(site) == list(range(60))


def test_the_terminal_is_the_line(
    tmp_path: Path, micropython32: MicroPython, device_library: Path
) -> None:
    # What the program prints is noise on it.
    with Wire(tmp_path / "dev") as cable:
        site = serial_site(tmp_path / "gateway", ACME, str(cable.gateway))
        robot(site, tmp_path / "robot", "serial:stdio")
        with running(site), cable.device.open("r+b", buffering=0) as terminal:
            folder, fd = tmp_path / "robot", terminal.fileno()
            process = started(micropython32, device_library, folder, 60, fd)
            ended(process)
    assert decisions(site) == list(range(60))
