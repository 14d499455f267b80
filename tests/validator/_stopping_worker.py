"""A worker that stops at a step: `python _stopping_worker.py FOLDER URL STEP SIGNAL`.

It sends itself the signal there: SIGKILL ends it as a power cut does, SIGSTOP leaves it hanging.
"""

import os
import sys
from pathlib import Path

from tallystick.validator import steps
from tallystick.validator.ingestduty import IngestDuty
from tallystick.validator.place import Server, parse_place
from tallystick.validator.workers import Worker


def main() -> None:
    folder, url, point, number = sys.argv[1:]
    place = parse_place(url, Path(folder))
    if not isinstance(place, Server):
        sys.exit("workers are for a server's store")

    def hook(reached: str) -> None:
        if reached == point:
            os.kill(os.getpid(), int(number))

    steps.on_step(hook)
    Worker(place, [IngestDuty()]).run()


if __name__ == "__main__":
    main()
