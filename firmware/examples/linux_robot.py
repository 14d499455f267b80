"""The program of a robot's computer with Linux, run by firmware/systemd/tally-robot.service.

python linux_robot.py [FILE]     FILE holds a temperature in thousandths of a degree

It drives slower while the computer is hot, and records each decision. `pip install tallystick` and
the folder that `tally fleet enroll` wrote are all that it needs.
"""

import signal
import sys
import time
from pathlib import Path

from tallystick.recorder import Recorder

TEMPERATURE = "/sys/class/thermal/thermal_zone0/temp"
HOT_MC = 70_000
LOOP_S = 0.2


def temperature_mc(path: Path) -> "int | None":
    """Thousandths of a degree; None where the sensor does not answer."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def drive(tally: Recorder, temperature: "int | None") -> str:
    """Decide, and record what was decided and why."""
    known = {} if temperature is None else {"temperature": (temperature, "<", HOT_MC, "m°C")}
    action = "cruise" if temperature is not None and temperature < HOT_MC else "crawl"
    tally.decision(
        model="keep-cool@1",
        inputs={"temperature_mc": temperature},
        constraints=known,
        output={"action": action},
    )
    return action


def main(path: str = TEMPERATURE) -> None:
    # Not an Event: the handler would wait for a lock that this thread holds while it waits for it.
    ends: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: ends.append(number))
    # A thread of its own signs and sends.
    tally = Recorder.open()
    while not ends:
        drive(tally, temperature_mc(Path(path)))
        time.sleep(LOOP_S)
    tally.close()
    print(tally.health.records, "records,", tally.health.dropped, "dropped")


if __name__ == "__main__":
    main(*sys.argv[1:2])
