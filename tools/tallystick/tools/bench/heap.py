"""A recorder and nothing else, to see how much of a small heap it leaves free.

micropython -m tallystick.tools.bench.heap CONFIG RECORDS
"""

# This file is device code: it runs on MicroPython.

import gc
import sys

from tallystick.recorder import Recorder

POLL_MS = 1000


def main(argv: list[str]) -> int:
    """Record, seal and sign; print the bytes that are free at the end, -1 where nobody knows."""
    tally = Recorder.open(argv[1], background=False)
    for number in range(int(argv[2])):
        tally.decision(
            "grasp-net@3f2a91",
            {"n": number, "force_n": 12.5},
            {"speed_m_s": (0.25, "<=", "0.9", "m/s")},
            {"action": "grip"},
        )
        tally.poll(1)
    tally.poll(POLL_MS)
    gc.collect()
    print(gc.mem_free() if hasattr(gc, "mem_free") else -1)
    return 1 if tally.health.dropped else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
