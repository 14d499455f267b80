"""The emulated board itself: the unmodified mpremote works on it, and power and cable can go."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mpremote.transport import TransportError
from mpremote.transport_serial import SerialTransport

from support.emulated_device import EmulatedDevice, quick_cables
from tallystick.tools.micropython import MicroPython

__all__ = ["quick_cables"]

pytestmark = pytest.mark.usefixtures("quick_cables")

COUNTS = "import time\nn = 0\nwhile True:\n    n += 1\n    time.sleep(0.01)\n"
MPREMOTE_TIMEOUT_S = 60


@pytest.fixture(params=[64, 32])
def device(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    micropython64: MicroPython,
    micropython32: MicroPython,
) -> Iterator[EmulatedDevice]:
    interpreter = micropython64 if request.param == 64 else micropython32
    with EmulatedDevice(tmp_path / "flash.img", interpreter) as made:
        yield made


@pytest.fixture
def mpremote(device: EmulatedDevice) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "mpremote", "connect", device.port, *arguments],
            capture_output=True,
            text=True,
            timeout=MPREMOTE_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("device", [32], indirect=True)
def test_mpremote_works_on_it(
    device: EmulatedDevice, mpremote: Callable[..., str], tmp_path: Path
) -> None:
    local = tmp_path / "data.bin"
    local.write_bytes(bytes(range(256)) * 10)
    mpremote("fs", "mkdir", ":lib", "+", "fs", "cp", str(local), ":lib/data.bin")
    back = tmp_path / "back.bin"
    said = mpremote(
        "exec", "import sys; print(sys.platform)", "+", "cp", ":lib/data.bin", str(back)
    )
    assert said.startswith("esp32") and back.read_bytes() == local.read_bytes()
    device.power_cycle()
    assert "2560 data.bin" in mpremote("fs", "ls", ":lib")
    assert device.contents() == {"/lib/": b"", "/lib/data.bin": local.read_bytes()}


def test_a_program_runs_after_each_reset_and_stops_at_ctrl_c(
    device: EmulatedDevice, mpremote: Callable[..., str]
) -> None:
    device.power_off()
    device.load({"/main.py": COUNTS.encode()})
    device.power_on()
    assert device.wait("runs", "idle") == "runs"
    assert int(mpremote("resume", "exec", "print(n)", "+", "reset")) > 0
    assert b">>> " in device.said and device.wait("runs") == "runs"


def test_raw_paste_takes_what_comes_at_once_and_breaks_off(device: EmulatedDevice) -> None:
    transport = SerialTransport(device.port)
    transport.enter_raw_repl()
    assert transport.exec("x = '" + "y" * 5000 + "'\nprint(len(x))").strip() == b"5000"
    assert transport.use_raw_paste
    transport.serial.write(b"\x05A\x01")
    assert transport.serial.read(6) == b">R\x01\x80\x00\x01"
    transport.serial.write(b"print(1\x03")
    assert b"KeyboardInterrupt" in transport.read_until(1, b"\x04>", timeout=5)
    # As after a prompt: plain raw REPL.
    transport.serial.write(b"print(2)\x04")
    assert transport.read_until(1, b"\x04>", timeout=5) == b"OK2\n\x04\x04>"
    transport.close()


def test_the_power_goes_in_the_middle_of_a_write(
    device: EmulatedDevice,
) -> None:
    transport = SerialTransport(device.port)
    transport.enter_raw_repl()
    transport.exec("f = open('kept', 'wb'); f.write(b'k' * 9000); f.close()")
    device.power_cycle(cut_at=3)
    transport = SerialTransport(device.port)
    transport.enter_raw_repl()
    with pytest.raises((TransportError, OSError)):
        transport.exec("f = open('torn', 'wb'); f.write(b't' * 9000); f.close()")
    device.wait("off")
    assert device.cut
    kept = device.contents()
    assert kept.pop("/kept") == b"k" * 9000 and kept in ({}, {"/torn": b""})
    device.power_on()
    assert SerialTransport(device.port).serial.is_open


def test_the_cable_goes_and_the_program_runs_on(device: EmulatedDevice) -> None:
    transport = SerialTransport(device.port)
    transport.enter_raw_repl()
    transport.exec_raw_no_follow("import time\ntime.sleep(0.3)\nopen('done', 'w').close()")
    device.unplug_after(1)
    with pytest.raises((TransportError, OSError)):
        transport.exec("1 + 1")
    device.wait("idle")
    assert device.contents() == {"/done": b""}
    device.plug()
    again = SerialTransport(device.port)
    again.enter_raw_repl(soft_reset=False)
    assert again.exec("print(3)").strip() == b"3"
    again.close()
