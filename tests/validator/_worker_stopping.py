"""Workers that are killed or stopped at a step: `python _worker_stopping.py STORE`.

Each line of standard input is a step and a signal's number. A child works until it reaches the
step, and sends itself the signal there; its process id is answered when it is dead or stopped.
"""

import os
import sys
from pathlib import Path

from tallystick.validator import steps
from tallystick.validator.place import Server, parse_place
from tallystick.validator.reconcileduty import ReconcileDuty
from tallystick.validator.workers import Worker


def work(place: Server, point: str, number: int) -> None:
    """One turn, in which the signal comes."""
    left = [1]

    def hook(reached: str) -> None:
        if reached == point and left:
            left.pop()
            os.kill(os.getpid(), number)

    steps.on_step(hook)
    worker = Worker(place, [ReconcileDuty()])
    worker.turn()
    worker.close()


def main() -> None:
    place = parse_place(sys.argv[1], Path())
    assert isinstance(place, Server)
    for line in sys.stdin:
        point, number = line.split()
        child = os.fork()
        if not child:
            work(place, point, int(number))
            os._exit(0)
        os.waitpid(child, os.WUNTRACED)
        print(child, flush=True)


if __name__ == "__main__":
    main()
