"""A validator that stops dead at a step: `python _crashing.py FOLDER STEP NTH STORE < batches`.

Batches come on standard input, each with four bytes of length; each answer goes out the same way.
"""

import os
import struct
import sys
from pathlib import Path

from support.devices import Fleet
from support.validating import Clock, load
from tallystick.validator import steps
from tallystick.validator.sequencer import Sequencer

DEAD = 86


def main() -> None:
    folder, point, nth = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    passed = 0

    def hook(reached: str) -> None:
        nonlocal passed
        if reached == point:
            passed += 1
            if passed == nth:
                # As a power cut: no exception handler, no commit, no flush.
                os._exit(DEAD)

    sequencer = Sequencer(load(folder, [Fleet("acme")], store=f'"{sys.argv[4]}"'), Clock())
    steps.on_step(hook)
    while head := sys.stdin.buffer.read(4):
        (size,) = struct.unpack(">I", head)
        answer = sequencer.ingest.batch(sys.stdin.buffer.read(size))
        sys.stdout.buffer.write(struct.pack(">I", len(answer)) + answer)
        sys.stdout.buffer.flush()
        while sequencer.reconciler.tick():
            pass
    sequencer.stop()


if __name__ == "__main__":
    main()
