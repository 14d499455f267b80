"""Starting what replays run on: services that answer, robots on a real MicroPython."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tallystick.evidence.errors import TallyError
from tallystick.tools import device_library, micropython
from tallystick.tools.api import ValidatorApi
from tallystick.tools.replay.processes import Processes

START_S_MAX = 120
POLL_S = 0.2


def until_ready(
    processes: Processes, validators: Iterable[ValidatorApi], services: Sequence[str]
) -> None:
    """Wait until every validator answers; raises when a service ends or they take too long."""
    end = time.monotonic() + START_S_MAX
    for api in validators:
        while not api.ready():
            processes.check(services)
            if time.monotonic() > end:
                message = f"the validators did not start in {START_S_MAX} s"
                raise TallyError("replay-failed", message)
            time.sleep(POLL_S)


def start_micropython(
    processes: Processes,
    name: str,
    bits: int,
    program: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    heap: str | None = None,
) -> None:
    """Start a robot's program, compiled as for a board, on MicroPython with words of `bits`.

    `heap` as MicroPython takes it ("160k"), its default if None.
    """
    found = micropython.find(bits)
    path = [
        device_library.device_library(board=True, programs=[program]),
        device_library.micropython_lib(["umqtt.simple"]),
        device_library.compiled(program.stem.replace("_", "-"), {program.name: program}),
    ]
    command = found.argv("-m", program.stem, *arguments, heap=heap)
    processes.start(name, command, **{**environment, **found.environment(path)})
