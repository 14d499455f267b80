"""Workers of a validator's own, as processes that may not start."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from support.crew import until
from tallystick.validator import crew
from tallystick.validator.crew import Crew


def test_a_worker_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "WORKER_RESTART_S_MIN", 0.01)
    monkeypatch.setattr(crew, "CREW_LOOK_S", 0.01)
    program = tmp_path / "program"
    with capture_logs() as told, Crew([str(program)], 1) as made:
        until(lambda: any(one["event"] == "worker-not-started" for one in told), "the error")
        program.write_text("#!/bin/sh\nexec sleep 60\n")
        program.chmod(0o700)
        until(lambda: bool(made.pids), "a worker after all")
