"""Workers of a validator's own, as processes that may not start."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from support.site import until
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


def test_a_worker_gets_no_secret_of_its_validator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = ("TALLY_PIN", "TALLY_KEY_PIN", "TALLY_NOTE_KEY_PIN", "CREDENTIALS_DIRECTORY")
    for name in secrets:
        monkeypatch.setenv(name, "canary")
    # libpq's own way to the store, which a worker needs.
    monkeypatch.setenv("PGPASSFILE", "/nowhere")
    told = tmp_path / "told"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\nenv >{told}.new && mv {told}.new {told}\nexec sleep 60\n")
    program.chmod(0o700)
    with Crew([str(program)], 1):
        until(told.exists, "the worker's environment")
        said = told.read_text()
    assert "canary" not in said
    assert "PGPASSFILE=/nowhere" in said and "PATH=" in said
