"""`tally device monitor`: what a board records, while its program runs on."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.emulated_device import EmulatedDevice, quick_cables
from support.emulated_robot import MAIN, robot
from tallystick.evidence.errors import Malformed, TransportError
from tallystick.recorder.config import check
from tallystick.tools.device import monitor
from tallystick.tools.main import cli
from tallystick.tools.micropython import MicroPython

__all__ = ["quick_cables"]

pytestmark = pytest.mark.usefixtures("quick_cables")

# It prints, too, and one of its records is longer than what is told.
CHATTY = MAIN.replace(
    "    n += 1\n",
    "    n += 1\n    print('speed', n)\n"
    "    if n % 40 == 0: tally.event('app.map', tiles='t' * 900)\n",
)


@pytest.fixture(params=[64, 32])
def board(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    micropython64: MicroPython,
    micropython32: MicroPython,
) -> Iterator[EmulatedDevice]:
    interpreter = micropython64 if request.param == 64 else micropython32
    with EmulatedDevice(tmp_path / "flash.img", interpreter) as made:
        made.power_off()
        yield made


def told(device: EmulatedDevice, *words: str) -> str:
    done = CliRunner().invoke(cli, ["device", "monitor", "--port", device.port, *words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


def test_decisions_are_told_while_the_program_runs_on(
    board: EmulatedDevice, tmp_path: Path
) -> None:
    robot(board, tmp_path, main=CHATTY, monitor="terminal")
    board.power_on()
    rows = [json.loads(line) for line in told(board, "--count", "60", "--json").splitlines()]
    decisions = [row for row in rows if row.get("what") == "decision"]
    assert len(decisions) > 30
    assert decisions[0]["model"][:2] == ["grasp-net", "1"] and decisions[0]["output"] == "grip"
    numbers = [row["inputs"]["n"] for row in decisions]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert [row["bytes"] > 900 for row in rows if "bytes" in row] in ([True], [True, True])
    line = told(board, "--count", "1")
    assert "decision grasp-net@1  n=" in line and "speed_m_s 0.4 <= 0.5 m/s  -> " in line
    # It never stopped, and says nothing more when nobody asks any more.
    assert b"soft reboot" not in board.said and board.wait("runs", "idle") == "runs"


@pytest.mark.parametrize("board", [32], indirect=True)
def test_a_board_that_was_not_asked_to_tell_says_nothing(
    board: EmulatedDevice,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(monitor, "HINT_S", 0.2)
    robot(board, tmp_path)
    board.power_on()
    timer = threading.Timer(0.8, board.unplug)
    timer.start()
    with pytest.raises(TransportError, match="does not answer any more"):
        told(board)
    timer.join()
    assert monitor.MARK not in board.said
    assert board.wait("runs", "idle") == "runs"
    board.plug()
    assert "decision" in told(board, "--enable", "--count", "3")
    assert told(board, "--disable") == ""
    assert json.loads(board.contents()["/tallystick.json"])["monitor"] is None


def test_what_is_no_line_of_ours_is_left_out() -> None:
    mark = monitor.MARK
    assert monitor._parsed(b"noise" + mark + b"2 7 3 AAEC\r") == (2, 7, 3, b"\0\1\2")
    assert monitor._parsed(mark + b"0 7 900 ") == (0, 7, 900, b"")
    for line in (b"0 7 3 AAEC", mark + b"0 7 4 AAEC", mark + b"0 -7 3 AAEC", mark + b"0 7 3 A?EC"):
        assert monitor._parsed(line) is None


def test_the_terminal_has_one_owner() -> None:
    config = {"fleet": "a", "key": "file:k", "journal": "j", "credential": "c"}
    assert check({**config, "monitor": "terminal"}, "c", "")["monitor"] == "terminal"
    with pytest.raises(Malformed, match="must be"):
        check({**config, "monitor": "loud"}, "c", "")
    with pytest.raises(Malformed, match="has the terminal already"):
        check({**config, "monitor": "terminal", "uplink": "serial:stdio"}, "c", "")
