"""A robot whose key counts: runs on CPython and on MicroPython. counting_robot.py CONFIG MINUTES

Minutes pass at a word, in each a decision. Prints what the log is then, one JSON object.
"""

import json
import sys
import time

from _counter import SteppingClock
from tallystick.recorder import Recorder

MINUTE_MS = 60000
STEPS = 30
# What a chip may take, in real time: time that passes at a word must not run ahead of it.
PAUSE_S = 0.001
WAIT_S = 60
HEX = "0123456789abcdef"


def settle(tally: "Recorder") -> None:
    ledger = tally._ledger
    end = time.time() + WAIT_S
    steps = 0
    while steps < STEPS or not ledger.settled() or ledger.log.intent != ledger.log.counter:
        steps += 1
        tally.step()
        if steps > STEPS:
            time.sleep(PAUSE_S)
        assert time.time() < end, tally.health.as_dict()


def live(config: "object", minutes: int) -> "dict[str, object]":
    """A boot, so many minutes, and its end."""
    clock = SteppingClock()
    tally = Recorder.open(config, clock=clock, background=False)  # type: ignore[arg-type]
    epoch = "".join([HEX[byte >> 4] + HEX[byte & 15] for byte in tally.epoch])
    for number in range(minutes):
        tally.decision("m@1", {"n": number})
        clock.now += MINUTE_MS
        settle(tally)
    health = tally.health
    found: dict[str, object] = {
        "epoch": epoch,
        "counter": health.counter,
        "faults": health.faults,
    }
    tally.close()
    return found


if __name__ == "__main__":
    print(json.dumps(live(sys.argv[1], int(sys.argv[2]))))
