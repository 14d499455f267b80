"""How often and how much decision() takes of the heap: device code.

micropython -m tallystick.tools.bench.allocating CONFIG

Prints two maps of the heap (micropython.mem_info(1)), before and after DECISIONS decisions with the
collector off, so that what was allocated stays in the second one.
"""

# This file is device code: it runs on MicroPython.

import gc
import sys

import micropython

from tallystick.recorder import Recorder
from tallystick.tools.bench.recording import MODEL, VARIANTS, arguments

DECISIONS = VARIANTS


def main(argv: list[str]) -> int:
    """Run, and print the maps."""
    tally = Recorder.open(argv[1], background=False)
    given = [arguments(number) for number in range(DECISIONS)]
    # Whatever is made once.
    decide(tally, given)
    while tally.poll():
        pass
    gc.collect()
    gc.disable()
    micropython.mem_info(1)
    decide(tally, given)
    micropython.mem_info(1)
    gc.enable()
    tally.close()
    return 0


def decide(tally: "Any", given: "list[Any]") -> None:
    """One decision of each."""
    for inputs, constraints, output in given:
        tally.decision(MODEL, inputs, constraints, output)


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

if __name__ == "__main__":
    sys.exit(main(sys.argv))
