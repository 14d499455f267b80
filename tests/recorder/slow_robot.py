"""Measures poll() against a broker that does not help. slow_robot.py CONFIG SECONDS RECORDS

Prints the longest poll() in milliseconds, and what health says. Runs on MicroPython.
"""

import sys
import time

from tallystick.recorder import Recorder


def main(config: str, seconds: int, records: int) -> None:
    tally = Recorder.open(config)
    longest = 0
    end = time.ticks_add(time.ticks_ms(), seconds * 1000)  # type: ignore[attr-defined]
    while time.ticks_diff(end, time.ticks_ms()) > 0:  # type: ignore[attr-defined]
        if records:
            records -= 1
            tally.decision("m@1", {"n": records, "blob": bytes(2000)})
        before = time.ticks_us()  # type: ignore[attr-defined]
        tally.poll(1)
        took = time.ticks_diff(time.ticks_us(), before)  # type: ignore[attr-defined]
        longest = max(longest, took)
        time.sleep_ms(1)  # type: ignore[attr-defined]
    print(longest / 1000, tally.health.as_dict())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
