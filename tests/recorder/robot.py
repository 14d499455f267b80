"""A robot for the uplink tests, on CPython and on MicroPython: robot.py CONFIG DECISIONS [FIRST]"""

import sys
import time

from tallystick.recorder import Recorder

WAIT_S = 60


def main(config: str, count: int, first: int) -> int:
    tally = Recorder.open(config)
    for number in range(first, first + count):
        tally.decision("m@1", {"n": number, "blob": bytes(40)}, output="go")
        if number % 8 == 0:
            tally.poll()
    tally.flush()
    end = time.time() + WAIT_S
    while tally.backlog() and time.time() < end:
        tally.poll()
        time.sleep(0.005)
    print("backlog", tally.backlog(), tally.health.as_dict())
    tally.close()
    return 1 if tally.backlog() else 0


if __name__ == "__main__":
    first = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    sys.exit(main(sys.argv[1], int(sys.argv[2]), first))
