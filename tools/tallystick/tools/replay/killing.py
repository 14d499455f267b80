"""The gateway of a replay, killed again and again while the robots go on."""

from dataclasses import dataclass
from pathlib import Path

from tallystick.tools.replay.processes import Processes

NAME = "gateway"


@dataclass(frozen=True)
class Kills:
    """What dies of SIGKILL in the middle of a replay."""

    validators: bool = False  # see Crew.kill
    gateway: int = 0  # times


class KilledGateway:
    """The gateway's process: started, killed `times` times, started again at once each time.

    Kills are spread evenly over the decisions that every validator has logged; between two of them
    something was logged. One that comes early hits a gateway that is still starting.
    """

    def __init__(self, processes: Processes, config: Path, times: int, decisions: int) -> None:
        self._processes = processes
        self._config = config
        self._times = times
        self._decisions = decisions
        self._logged = 0
        self.killed = 0

    def start(self) -> None:
        """Start it."""
        self._processes.tally(NAME, "gateway", "run", "--config", str(self._config))

    def look(self, logged: int) -> bool:
        """Kill it if it is time to, by how many decisions are logged; whether it was killed."""
        due = (self.killed + 1) * self._decisions // (self._times + 1)
        if self.killed == self._times or logged < due or logged <= self._logged:
            return False
        self._logged = logged
        self._processes.kill(NAME)
        self.start()
        self.killed += 1
        return True

    @property
    def missed(self) -> int:
        """How many of its kills never came: everything was logged before."""
        return self._times - self.killed
