"""A robot per line of a list, each with an uplink of its own: uplink_faults.py LIST SECONDS

Says, a JSON object a line, what each one's health says once it is connected and greeted, or once
its uplink has failed. Runs on CPython and on MicroPython.
"""

import json
import sys
import time

from tallystick.recorder import Recorder

UNDATED = "uplink:dates-unchecked"
MICROPYTHON = sys.implementation.name == "micropython"


def ticks_ms() -> int:
    if MICROPYTHON:
        return time.ticks_ms()  # type: ignore[attr-defined,no-any-return]  # MicroPython's
    return time.monotonic_ns() // 1000000


def hurry() -> None:
    # So that a silent peer's time-out is short, and hellos follow one another. For MicroPython the
    # test lets time pass faster: compiled, these are numbers without names.
    from tallystick.recorder import link, mqtt_paho

    link.HELLO_RETRY_MS_MIN = 100
    mqtt_paho.OPEN_S_MAX = 1


def watch(config: str, seconds: int) -> None:
    tally = Recorder.open(config, background=False)
    tally.decision("m@1", {"n": 0})
    slowest = 0
    first = ticks_ms()
    while ticks_ms() - first < seconds * 1000:
        began = ticks_ms()
        tally.poll(1)
        slowest = max(slowest, ticks_ms() - began)
        if tally.health.custody or [one for one in tally.health.faults if one != UNDATED]:
            break
        time.sleep(0.002)
    health = tally.health.as_dict()
    tally.close()
    print(
        json.dumps(
            {
                "faults": health["faults"],
                "last": health["last_fault"],
                "custody": health["custody"],
                "slowest_ms": slowest,
            }
        )
    )


if __name__ == "__main__":
    if not MICROPYTHON:
        hurry()
    with open(sys.argv[1]) as listed:  # noqa: PTH123  # MicroPython has no pathlib
        paths = listed.read().split()
    for path in paths:
        watch(path, int(sys.argv[2]))
