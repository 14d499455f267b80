"""The process is killed at every operation, on CPython and on MicroPython.

What left the device is in a log on the host. Over all its lives no two checkpoints contradict each
other, and no urgent decision that returned is missing.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.station import Fleet, Station, read_credential
from tallystick.evidence import record
from tallystick.evidence.decision import Decision
from tallystick.tools.micropython import MicroPython

SCRIPT = Path(__file__).parent / "crash_device.py"
TOP = Path(__file__).parents[2]
PATHS = [str(TOP / part) for part in ("firmware", "hw")]
LIFE_NUMBERS = 100

Run = Callable[[Path, Path, int, int], "subprocess.CompletedProcess[str]"]


def on_cpython(config: Path, log: Path, at: int, first: int) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-u", str(SCRIPT), str(config), str(log), str(at), str(first)],
        env={"PYTHONPATH": ":".join(PATHS)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def on_micropython(interpreter: MicroPython, library: Path) -> Run:
    def run(config: Path, log: Path, at: int, first: int) -> "subprocess.CompletedProcess[str]":
        return interpreter.run(
            str(SCRIPT), str(config), str(log), str(at), str(first), path=[library]
        )

    return run


def messages(log: Path) -> list[bytes]:
    data = log.read_bytes() if log.exists() else b""
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        if len(data) < 4 + size:
            break  # killed while it wrote the log, so before the link had it
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found


def lives(tmp_path: Path, run: Run, every: int, most: int) -> int:
    """Kill the same device at every `every`-th operation, life after life; how many lives."""
    fleet = Fleet(tmp_path / "fleet")
    settings = {"checkpoint_records": 4, "checkpoint_s": 10}
    at = 0
    count = 0
    ended = False
    while not ended and at < most:
        at += every
        count += 1
        # Two lives of one device: killed at its k-th operation, then one that runs to its end.
        config = fleet.device(f"d{at}", **settings)
        path = tmp_path / f"d{at}.json"
        path.write_text(json.dumps(config))
        log = tmp_path / f"d{at}.log"
        first = run(path, log, at, 0)
        ended = "end" in first.stdout
        second = run(path, log, 0, LIFE_NUMBERS)
        assert "end" in second.stdout, second.stdout + second.stderr
        check(fleet, config, log, first.stdout + second.stdout)
    assert ended, "the scenario has more operations than were tried"
    return count


def check(fleet: Fleet, config: dict[str, object], log: Path, said: str) -> None:
    station = Station(fleet, read_credential(config))
    for message in messages(log):
        station.answer(message)
    assert len(station.trees) == 1, "a kill must not end an epoch"
    (records,) = station.records.values()
    parsed = [record.parse(item) for item in records]
    numbers = [one.inputs["n"] for one in parsed if isinstance(one, Decision)]
    assert numbers == sorted(set(numbers))
    acknowledged = {int(line.split()[1]) for line in said.splitlines() if line.startswith("ack")}
    assert acknowledged <= set(numbers)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_at_every_operation_on_cpython(tmp_path: Path) -> None:
    assert lives(tmp_path, on_cpython, every=1, most=200) > 30


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_at_every_operation_on_micropython(
    tmp_path: Path, micropython64: MicroPython, device_library: Path
) -> None:
    run = on_micropython(micropython64, device_library)
    assert lives(tmp_path, run, every=1, most=200) > 30


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_on_32_bits(
    tmp_path: Path, micropython32: MicroPython, device_library: Path
) -> None:
    run = on_micropython(micropython32, device_library)
    assert lives(tmp_path, run, every=5, most=200) > 6
