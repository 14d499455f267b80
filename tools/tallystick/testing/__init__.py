"""Tests of a robot's program: a recorder with a virtual chip, and what it recorded, verified.

With pytest: `pytest_plugins = ["tallystick.testing.plugin"]` in conftest.py, then the fixture
`tally` (docs/recorder.md). Without: `Workshop(folder).open("robot-1")`. pytest is imported by the
plugin only.
"""

from tallystick.testing.recorded import Recorded
from tallystick.testing.recorder import BenchRecorder
from tallystick.testing.workshop import Workshop

__all__ = ["BenchRecorder", "Recorded", "Workshop"]
