"""The recorder under a robot's tests: a real one, whose gateway is in memory."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from tallystick.recorder.recorder import Recorder
from tallystick.testing.gateway import MemoryGateway
from tallystick.testing.recorded import Recorded

if TYPE_CHECKING:
    from tallystick.testing.workshop import Workshop

CUSTODY_S_MAX = 10.0
STEP_S = 0.002


class BenchRecorder(Recorder):
    """Made by Workshop.open(); `recorded` is what it recorded since begin()."""

    gateway: MemoryGateway
    workshop: "Workshop"
    _mark = 0
    _faults: "dict[str, int] | None" = None
    _dropped = 0

    @property
    def recorded(self) -> Recorded:
        """All that was recorded since begin(), signed, sent and verified; AssertionError else."""
        self._settle()
        before = self._faults or {}
        faults = {
            name: count - before.get(name, 0)
            for name, count in self.health.faults.items()
            if count > before.get(name, 0)
        }
        dropped = self.health.dropped - self._dropped
        return Recorded(self.gateway.records[self._mark :], faults, dropped)

    def begin(self) -> None:
        """Forget what was recorded so far: another test begins."""
        self._mark = self._ledger.log.tree.size
        self._faults = dict(self.health.faults)
        self._dropped = self.health.dropped

    def peer(self, label: str) -> "BenchRecorder":
        """Another robot of the fleet, open until the end; its key is software's."""
        return self.workshop.peer(label)

    def use_profile(self, path: "str | Path") -> None:
        """Provision every robot of the workshop with a profile's TOML file."""
        self.workshop.use_profile(Path(path).read_text("utf-8"))

    def close(self) -> None:
        """What the program under test calls: signed, and open for the next test."""
        self.flush()

    def end(self) -> None:
        """Close it really."""
        super().close()

    def _settle(self) -> None:
        if not self.flush():
            message = f"the recorder did not sign: {self.health.as_dict()}"
            raise AssertionError(message)
        size = self._ledger.log.tree.size
        end_s = time.monotonic() + CUSTODY_S_MAX
        while len(self.gateway.records) < size and self.gateway.error is None:
            self.poll()
            if time.monotonic() > end_s:
                message = f"the recorder did not send: {self.health.as_dict()}"
                raise AssertionError(message)
            time.sleep(STEP_S)
        if self.gateway.error is not None:
            message = f"what was recorded does not verify: {self.gateway.error}"
            raise AssertionError(message)
