"""The validators of a replay as processes: one each, or several on PostgreSQL, some of them killed.

On PostgreSQL each validator has a process that sequences, one that stands by, and workers. With
`kill`, the first validator's sequencer and one worker of the second die of SIGKILL when half of the
decisions are logged; nobody starts them again.
"""

import time
from contextlib import ExitStack
from pathlib import Path

from tallystick.evidence.errors import TallyError, TransportError
from tallystick.tools.api import Counts, ValidatorApi
from tallystick.tools.postgres import Postgres
from tallystick.tools.replay.processes import Processes
from tallystick.tools.replay.scene import Scene, Validator

# So long a validator may be away while another process takes over.
TAKE_OVER_S_MAX = 60.0


class Crew:
    """Every process of every validator; `counts` asks each."""

    def __init__(self, processes: Processes, scene: Scene, stack: ExitStack) -> None:
        self._processes = processes
        self._scene = scene
        self._stack = stack
        self._away_s: dict[str, float] = {}
        self._counted: dict[str, Counts] = {}
        self._killed: list[str] = []
        self.services: list[str] = []
        self.apis: dict[str, ValidatorApi] = {}

    def start(self, server: Postgres | None, workers: int) -> None:
        """One process each, on SQLite without a server; and so many workers each."""
        for validator in self._scene.validators:
            name = f"validator-{validator.name}"
            if server is not None:
                _on(validator.config, server.database())
            self._run(name, validator, "run")
            api = ValidatorApi(validator.url)
            self.apis[validator.name] = self._stack.enter_context(api)
            for number in range(1, workers + 1):
                self._run(f"{name}-worker-{number}", validator, "worker")

    def stand_by(self) -> None:
        """On PostgreSQL: a second process for each, once the first sequences."""
        for validator in self._scene.validators:
            self._run(f"validator-{validator.name}-standby", validator, "run")

    def _run(self, name: str, validator: Validator, command: str) -> None:
        self._processes.tally(name, "validator", command, "--config", str(validator.config))
        self.services.append(name)

    def kill(self) -> list[str]:
        """Kill the first validator's sequencer and a worker of the second; their names."""
        first, second = self._scene.validators[:2]
        self._killed = [f"validator-{first.name}", f"validator-{second.name}-worker-1"]
        for name in self._killed:
            self._processes.kill(name)
            self.services.remove(name)
        return self._killed

    @property
    def killed(self) -> bool:
        """Whether that was done."""
        return bool(self._killed)

    def counts(self) -> dict[str, Counts]:
        """What each validator counts; of one that is being taken over, what it counted last."""
        for name, api in self.apis.items():
            try:
                self._counted[name] = api.counts()
            except TransportError as error:
                self._wait_for(name, error)
            else:
                self._away_s.pop(name, None)
        return self._counted

    def _wait_for(self, name: str, error: TransportError) -> None:
        since_s = self._away_s.setdefault(name, time.monotonic())
        if not self.killed or name not in self._counted:
            raise error
        if time.monotonic() - since_s > TAKE_OVER_S_MAX:
            message = f"nobody took over validator {name} in {TAKE_OVER_S_MAX:.0f} s"
            raise TallyError("replay-failed", message)


def _on(config: Path, url: str) -> None:
    """Let a validator keep its store in this database."""
    text = config.read_text()
    config.write_text(text.replace('store = "validator.sqlite"', f'store = "{url}"'))
