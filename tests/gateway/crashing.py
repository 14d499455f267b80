"""Runs a gateway that dies, as if killed, the n-th time that it passes a point.

python crashing.py gateway.toml POINT N        N = 0: never
"""

import os
import signal
import sys
import threading
from pathlib import Path

from tallystick.gateway import logs, service, steps
from tallystick.gateway.config import load


def main() -> None:
    path, point, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    passed = 0

    def die(at: str) -> None:
        nonlocal passed
        passed += at == point
        if count and passed == count:
            os._exit(9)  # no handler runs, nothing is flushed

    logs.configure()
    steps.on_step(die)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    service.run(load(path), stop)


if __name__ == "__main__":
    main()
