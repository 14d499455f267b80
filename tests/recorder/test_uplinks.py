"""Recorders over a real Mosquitto: paho on CPython, umqtt on MicroPython; test_tls.py has TLS."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from support.mqttstation import Gateway, made
from support.station import Fleet
from tallystick.recorder import Recorder
from tallystick.tools import device_library as library
from tallystick.tools.micropython import MicroPython
from tallystick.tools.mosquitto import Mosquitto

ROBOT = Path(__file__).parent / "robot.py"


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "fleet")


def url(broker: Mosquitto) -> str:
    return f"mqtt://{broker.host}:{broker.port}"


def run_cpython(config: Path, count: int) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(ROBOT), str(config), str(count)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def run_micropython(
    interpreter: MicroPython, device: Path, config: Path, count: int
) -> "subprocess.CompletedProcess[str]":
    paths = [device, library.micropython_lib(["umqtt.simple"])]
    return interpreter.run(str(ROBOT), str(config), str(count), path=paths, timeout_s=90)


def test_paho(mosquitto: Mosquitto, fleet: Fleet, tmp_path: Path) -> None:
    config, station = made(fleet, url(mosquitto), tmp_path)
    with Gateway(mosquitto.port, station) as gateway:
        done = run_cpython(config, 300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert gateway.decisions() == list(range(300))


def test_umqtt_64_bits(
    mosquitto: Mosquitto,
    fleet: Fleet,
    tmp_path: Path,
    micropython64: MicroPython,
    device_library: Path,
) -> None:
    config, station = made(fleet, url(mosquitto), tmp_path)
    with Gateway(mosquitto.port, station) as gateway:
        done = run_micropython(micropython64, device_library, config, 300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert gateway.decisions() == list(range(300))


def test_umqtt_32_bits(
    mosquitto: Mosquitto,
    fleet: Fleet,
    tmp_path: Path,
    micropython32: MicroPython,
    device_library: Path,
) -> None:
    config, station = made(fleet, url(mosquitto), tmp_path)
    with Gateway(mosquitto.port, station) as gateway:
        done = run_micropython(micropython32, device_library, config, 100)
        assert done.returncode == 0, done.stdout + done.stderr
        assert gateway.decisions() == list(range(100))


@pytest.mark.usefixtures("mosquitto")  # which skips where there is none
def test_a_killed_broker_loses_nothing(fleet: Fleet, tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        config, station = made(fleet, url(broker), tmp_path, resend_s=1)
        gateway = Gateway(broker.port, station)
        with gateway:
            tally = Recorder.open(str(config))
            for number in range(400):
                tally.decision("m@1", {"n": number})
                if number == 200:
                    broker.kill()
                    broker.start()
            tally.flush()
            wait = threading.Event()
            for _ in range(400):
                if not tally.backlog():
                    break
                wait.wait(0.1)
            assert not tally.backlog(), tally.health.as_dict()
            tally.close()
            assert gateway.decisions() == list(range(400))


@pytest.mark.parametrize("board", [False, True])
def test_a_limit_is_kept(
    mosquitto: Mosquitto,
    fleet: Fleet,
    tmp_path: Path,
    micropython64: MicroPython,
    device_library: Path,
    *,
    board: bool,
) -> None:
    rate = 20_000
    config, station = made(fleet, url(mosquitto), tmp_path, uplink_bytes_s=rate)
    with Gateway(mosquitto.port, station) as gateway:
        began_s = time.monotonic()
        if board:
            done = run_micropython(micropython64, device_library, config, 400)
        else:
            done = run_cpython(config, 400)
        took_s = time.monotonic() - began_s
        assert done.returncode == 0, done.stdout + done.stderr
        assert gateway.decisions() == list(range(400))
    sizes = [len(one.segment.encode()) for one in station.segments]
    assert sum(sizes) > 25_000
    assert sum(sizes) <= rate * took_s + rate // 4 + max(sizes)
