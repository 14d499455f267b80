"""Decisions and decisions on 32-bit MicroPython: free memory does not fall.

`tally bench record --steady 100000` is the long run; here the same, shorter.
"""

import threading
from pathlib import Path

from tallystick.tools.bench import steady
from tallystick.tools.bench.steady import Steady
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.micropython import MicroPython
from tallystick.tools.mosquitto import Mosquitto

ALONE_DECISIONS = 5_000
LINKED_DECISIONS = 1_500
# While the broker is away the robot waits, so the run is longer than all of these.
RESTARTS = 2
DOWN_S = 1.0
# What the broker says of the gateway and of the robot.
CONNECTED = "New client connected"
# At rest: 10,832 bytes were the least of 100,000 decisions. What makes a connection takes 1.5 KiB
# where it is not forgotten, classes of keys take 3.
REST_FREE_BYTES_MIN = 10_000
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
    with steady.site(tmp_path, fleet) as (config, _):
        found = steady.linked(tmp_path, config, LINKED_DECISIONS)
    assert found.heap_bytes == 96 * 1024
    assert (found.dropped, found.backlog, found.faults) == (0, 0, {})
    assert found.custody > 0
    assert found.fell_bytes <= FALL_BYTES_MAX
    assert min(size for size in found.most if size) >= REST_FREE_BYTES_MIN
    assert min(size for size in found.least if size) > 4096


def test_a_broker_that_is_restarted_is_found_again_in_the_same_heap(
    mosquitto: Mosquitto, tmp_path: Path, micropython32: MicroPython
) -> None:
    fleet = Fleet.init(tmp_path / "fleet", "steady")
    with steady.site(tmp_path, fleet) as (config, broker):
        done = threading.Event()
        again = threading.Thread(target=restart, args=(broker, done))
        again.start()
        try:
            found = steady.linked(tmp_path, config, LINKED_DECISIONS, rest=False)
        finally:
            done.set()
            again.join()
    assert found.heap_bytes == 96 * 1024
    assert (found.dropped, found.backlog) == (0, 0)
    # It was away. Where two things need memory at once one is tried again, and health says so.
    transient = {"journal:memory", "uplink:memory", "memory:step", "flash:rotate"}
    assert "uplink:no-link" in found.faults or "uplink:io" in found.faults, found.faults
    others = {name for name in found.faults if not name.startswith("uplink:")}
    assert others <= transient, found.faults
    assert found.custody > 0


def restart(broker: Mosquitto, done: threading.Event) -> None:
    # As soon as gateway and robot are connected, and once more.
    for count in range(1, RESTARTS + 1):
        while broker.log_file.read_text(errors="replace").count(CONNECTED) < 2 * count:
            if done.wait(0.05):
                return
        broker.kill()
        done.wait(DOWN_S)
        broker.start()


def test_what_the_robot_prints_is_read() -> None:
    text = "20 1 2 3 4\n1 1 1 1 1 1 1 1 1 1\n9 8 7 6 5 4 3 2 1 2\nflash:io 2\n"
    found = steady.read("alone", 64, 19, 1.25, text)
    assert (found.records, found.dropped, found.custody, found.backlog) == (20, 1, 3, 4)
    assert found.faults == {"flash:io": 2}
    assert found.fell_bytes == 3
    assert found.object()["fell_bytes"] == 3
