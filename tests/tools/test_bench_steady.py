"""Decisions and decisions on 32-bit MicroPython: free memory does not fall.

`tally bench record --steady 100000` is the long run; here the same, shorter.
"""

from pathlib import Path

from tallystick.tools.bench import steady
from tallystick.tools.bench.steady import Steady
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.micropython import MicroPython
from tallystick.tools.mosquitto import Mosquitto

ALONE_DECISIONS = 5_000
LINKED_DECISIONS = 1_500
# Where nobody takes custody the list of the journal's files grows, and numbers become objects.
FALL_BYTES_MAX = 512


def check(found: Steady) -> None:
    assert (found.dropped, found.backlog, found.faults) == (0, 0, {})
    assert found.records >= found.decisions
    assert found.fell_bytes <= FALL_BYTES_MAX
    assert all(found.least) and min(found.least) > 4096


def test_the_recorder_alone(tmp_path: Path, micropython32: MicroPython) -> None:
    assert micropython32.bits == 32
    fleet = Fleet.init(tmp_path / "fleet", "steady")
    found = steady.alone(tmp_path, fleet, ALONE_DECISIONS)
    check(found)
    assert found.heap_bytes == 64 * 1024


def test_with_a_chip_and_mqtt_over_tls(
    mosquitto: Mosquitto, tmp_path: Path, micropython32: MicroPython
) -> None:
    fleet = Fleet.init(tmp_path / "fleet", "steady")
    with steady._site(tmp_path, fleet) as config:
        found = steady._run("chip-tls", tmp_path, config, LINKED_DECISIONS, steady.LINKED_KIB)
    assert (found.dropped, found.backlog, found.faults) == (0, 0, {})
    assert found.custody > 0
    assert min(size for size in found.least if size) > 4096


def test_what_the_robot_prints_is_read() -> None:
    text = "20 1 2 3 4\n1 1 1 1 1 1 1 1 1 1\n9 8 7 6 5 4 3 2 1 2\nflash:io 2\n"
    found = steady.read("alone", 64, 19, 1.25, text)
    assert (found.records, found.dropped, found.custody, found.backlog) == (20, 1, 3, 4)
    assert found.faults == {"flash:io": 2}
    assert found.fell_bytes == 3
    assert found.object()["fell_bytes"] == 3
