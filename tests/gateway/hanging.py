"""`tally gateway run` whose ingest worker hangs with the next group, once a file is there.

python hanging.py gateway.toml HOW FILE
python hanging.py dev lock FILE                `tally dev` in its place, here; FILE goes away

HOW: lock: it waits for a lock that nobody gives back, in the middle of a transaction. gil: it is in
a call into a library that never returns and keeps Python's own lock.
"""

import ctypes
import sys
import threading
from pathlib import Path

from tallystick.gateway import limits, steps
from tallystick.tools.main import main

# More than a COMMIT takes on a slow disk.
MOST_S = 3
# Its clock goes from the start on.
STANDSTILL_S = 10


def hang() -> None:
    how, file = sys.argv[2], Path(sys.argv[3])
    lock = threading.Lock()
    lock.acquire()

    def step(at: str) -> None:
        if at == steps.APPLIED and file.exists():
            if how == "gil":
                ctypes.PyDLL(None).sleep(600)
            if sys.argv[1] == "dev":
                file.unlink()
            lock.acquire()

    steps.on_step(step)
    limits.WATCHDOG_TICK_S = 0.05
    limits.LAST_WORD_S_MAX = 0.3
    limits.WORKER_BEAT_S_MAX = MOST_S
    if how == "gil":
        limits.STANDSTILL_S_MAX = STANDSTILL_S


if __name__ == "__main__":
    hang()
    here = sys.argv[1] == "dev"
    sys.argv[1:] = ["dev"] if here else ["gateway", "run", "--config", sys.argv[1]]
    main()
