"""The examples of docs/recorder.md, sections 6 to 9, run as they stand."""

import json
import logging
import logging.config
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.station import Fleet
from tallystick.recorder import Recorder
from tallystick.testing import Workshop

PAGE = Path(__file__).parents[2] / "docs" / "recorder.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(section: str) -> list[tuple[str, str]]:
    (text,) = [part for part in PAGE.read_text().split("\n## ") if part.startswith(section)]
    return FENCE.findall(text)


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def robot(tmp_path: Path) -> Path:
    """A robot's folder with its tallystick.json."""
    config = Fleet(tmp_path / "fleet").device("one")
    (tmp_path / "tallystick.json").write_text(json.dumps(config))
    return tmp_path


def backlog(robot: Path) -> int:
    tally = Recorder.open(str(robot / "tallystick.json"), background=False)
    count = tally.backlog()
    tally.close()
    return count


def test_a_function_that_decides(robot: Path) -> None:
    ((_, text),) = examples("6.")
    (robot / "program.py").write_text(text)
    assert run(robot, "program.py") == "grip wait\n"
    # epoch, boot, two decisions, and the boot of who counts.
    assert backlog(robot) == 5


def test_a_program_that_logs(robot: Path) -> None:
    (_, text), (kind, ini) = examples("7.")
    (robot / "program.py").write_text(text)
    run(robot, "program.py")
    assert kind == "ini" and backlog(robot) == 6
    (robot / "log.ini").write_text(ini)
    code = "import logging.config as c, logging; c.fileConfig('log.ini'); logging.warning('x')"
    run(robot, "-c", code)
    assert backlog(robot) == 9


def test_a_handler_takes_the_programs_recorder(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path / "workshop")
    tally = workshop.open("robot-1", chip=False)
    handler = {"class": "tallystick.recorder.loghandler.TallyHandler", "recorder": tally}
    logger = {"handlers": ["tally"], "level": "INFO", "propagate": False}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"tally": handler},
            "loggers": {"docs.robot": logger},
        }
    )
    logging.getLogger("docs.robot").info("hello")
    found = tally.recorded.events
    assert [one.name for one in found] == ["log.info"]
    logging.getLogger("docs.robot").handlers.clear()
    workshop.close()


def test_tests_of_a_robots_program(tmp_path: Path) -> None:
    ((_, program),) = examples("6.")
    (_, conftest), (_, test) = examples("9.")
    lines = program.rstrip().split("\n")
    (tmp_path / "grasping.py").write_text("\n".join(lines[:-2]) + "\n")
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_grasping.py").write_text(test)
    assert "1 passed" in run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider")
