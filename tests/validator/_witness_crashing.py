"""A witness that stops dead at a step: `python _witness_crashing.py CONFIG STEP < request`."""

import os
import sys
from concurrent.futures import Future
from pathlib import Path

from tallystick.validator import config, steps
from tallystick.validator.sequencer import Sequencer
from tallystick.validator.witness import Witness

DEAD = 86


def main() -> None:
    def hook(reached: str) -> None:
        if reached == sys.argv[2]:
            # As a power cut: no exception handler, no commit, no flush.
            os._exit(DEAD)

    sequencer = Sequencer(config.load(Path(sys.argv[1])))
    steps.on_step(hook)
    sequencer.start()
    line = Witness(sequencer).add(sys.stdin.buffer.read())
    sys.stdout.write(line.result(60) if isinstance(line, Future) else line)
    sequencer.stop()


if __name__ == "__main__":
    main()
