"""A robot that decides and decides, to see whether its free memory falls: device code.

micropython -m tallystick.tools.bench.steady_robot CONFIG DECISIONS [linked] [rest]

With `linked` it waits for custody receipts, as far as its backlog grows. What is free is looked at
where a checkpoint was made, in each tenth of the way; with `rest` once more when all of it is
signed, and with `linked` in custody, so that nothing is under way. Prints counts, then the least
and the most that was free in each tenth, then the faults.
"""

# This file is device code: it runs on MicroPython.

import gc
import sys

from tallystick.recorder import Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TENTHS = 10
# In each tenth, at most; each look costs a collection, and with `rest` it waits for a receipt.
LOOKS = 40
RESTS = 4
CHECKPOINT_RECORDS = 64
THRESHOLD_BYTES = 4096
POLL_MS = 10
# Records that no receipt covers yet: who makes more than chip and line can carry waits.
BACKLOG_HOLD = 1024
IDLE_POLLS_MAX = 1_000_000


def run(config: str, count: int, linked: bool, rest: bool) -> None:  # noqa: FBT001  # words
    """Decide, look and print."""
    # Collected often, garbage does not cut what is free into small pieces.
    gc.threshold(THRESHOLD_BYTES)  # type: ignore[attr-defined]  # MicroPython's
    tally = Recorder.open(config)
    health = tally.health
    least = [0] * TENTHS
    most = [0] * TENTHS
    seen = 0
    every = max(1, count // CHECKPOINT_RECORDS // TENTHS // (RESTS if rest else LOOKS))
    for number in range(count):
        tally.decision(
            "grasp-net@3f2a91",
            {"camera": b"x" * 32, "n": number},
            {"speed_m_s": (0.25, "<=", "0.5", "m/s")},
            {"action": "grip", "x": 0.125, "y": -1.5},
        )
        tally.poll(1)
        if linked:
            drain(tally, BACKLOG_HOLD)
        if health.checkpoints - seen >= every:
            seen = health.checkpoints
            at = number * TENTHS // count
            free = look()
            least[at] = min(least[at] or free, free)
            if rest:
                tally.flush()
                if linked:
                    drain(tally, 0)
                free = look()
            most[at] = max(most[at], free)
    tally.flush()
    if linked:
        drain(tally, 0)
    # Word by word: a heap in use has no large pieces.
    backlog = tally.backlog() if linked else 0
    print(health.records, health.dropped, health.checkpoints, health.custody, backlog)
    print(*least)
    print(*most)
    for name, times in health.faults.items():
        print(name, times)
    tally.close()


def look() -> int:
    """Bytes that are free."""
    gc.collect()
    return gc.mem_free()  # type: ignore[attr-defined,no-any-return]  # MicroPython's


def drain(tally: "Any", backlog: int) -> None:
    """Poll until no more records than these wait for a custody receipt."""
    idle = 0
    while tally.backlog() > backlog and idle < IDLE_POLLS_MAX:
        idle = 0 if tally.poll(POLL_MS) else idle + 1


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), "linked" in sys.argv, "rest" in sys.argv)
