"""pytest: the fixture `tally`, and a recorder for the robot's own `Recorder.open()`.

`pytest_plugins = ["tallystick.testing.plugin"]` in the topmost conftest.py. From then on
`Recorder.open()` without arguments gives the test's recorder in this process, so that a robot's
module that opens its recorder when it is imported is tested as it is.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tallystick.recorder.config import ENVIRONMENT
from tallystick.recorder.recorder import Recorder
from tallystick.testing.recorder import BenchRecorder
from tallystick.testing.workshop import Workshop

LABEL = "robot-1"


class Stand:
    """The one recorder of this process, made when it is first asked for."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._workshop: Workshop | None = None
        self._recorder: BenchRecorder | None = None
        self._original = Recorder.__dict__["open"]

    def recorder(self) -> BenchRecorder:
        """Open, and the same for every test."""
        if self._recorder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="tallystick-testing.")
            self._workshop = Workshop(Path(self._folder.name))
            self._recorder = self._workshop.open(LABEL)
        return self._recorder

    def install(self) -> None:
        """Recorder.open() gives it, unless the program or the environment names a configuration."""
        original = self._original.__func__

        def open_(cls: type[Recorder], *args: Any, **named: Any) -> Recorder:
            # `background` is how the program waits, and says nothing of what it opens.
            unnamed = not args and not set(named) - {"background"}
            if cls is Recorder and unnamed and not os.environ.get(ENVIRONMENT):
                return self.recorder()
            made: Recorder = original(cls, *args, **named)
            return made

        setattr(Recorder, "open", classmethod(open_))  # noqa: B010  # a method that mypy knows

    def remove(self) -> None:
        """As it was; what was opened is closed, its folder gone."""
        setattr(Recorder, "open", self._original)  # noqa: B010  # as above
        if self._workshop is not None:
            self._workshop.close()
        if self._folder is not None:
            self._folder.cleanup()


_stand = pytest.StashKey[Stand]()


def pytest_configure(config: pytest.Config) -> None:
    """Before any of the robot's modules is imported."""
    stand = config.stash[_stand] = Stand()
    stand.install()


def pytest_unconfigure(config: pytest.Config) -> None:
    """After the last test."""
    if _stand in config.stash:
        config.stash[_stand].remove()


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[BenchRecorder]:
    """The recorder of the robot under test; `tally.recorded` begins empty in each test."""
    made = request.config.stash[_stand].recorder()
    made.begin()
    yield made
    # What was recorded verifies, whether the test looked at it or not.
    _ = made.recorded
