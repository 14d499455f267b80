"""The logging handler: a program takes part by its logging configuration."""

import logging
import logging.config
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.station import Fleet
from tallystick.evidence.errors import Malformed
from tallystick.recorder import Recorder
from tallystick.recorder.loghandler import PER_MINUTE, TallyHandler
from tallystick.testing import BenchRecorder, Workshop


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    made = Workshop(tmp_path_factory.mktemp("workshop"))
    yield made
    made.close()


@pytest.fixture
def bench(workshop: Workshop) -> BenchRecorder:
    made = workshop.peer("robot-1")
    made.begin()
    return made


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.getLogger("robot.arm")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def test_levels_messages_and_exceptions(bench: BenchRecorder, log: logging.Logger) -> None:
    log.addHandler(TallyHandler(recorder=bench, level="WARNING"))
    log.info("not this")
    log.warning("moving to %s", "the vault, code 4711")
    try:
        int("secret")
    except ValueError:
        log.exception("failed")
    log.error({"an": "object"})
    found = bench.recorded.events
    assert [one.name for one in found] == ["log.warning", "log.error", "log.error"]
    assert found[0].details == {"logger": "robot.arm", "message": "moving to %s"}
    assert found[1].details["raised"] == "ValueError"
    assert found[2].details["message"] == "dict"
    assert "secret" not in repr(found) and "4711" not in repr(found)


def test_arguments_where_they_are_asked_for(bench: BenchRecorder, log: logging.Logger) -> None:
    handler = TallyHandler(recorder=bench, arguments=True)
    log.addHandler(handler)
    log.warning("moving to %s", "dock 3" * 100)
    # Not through the logger: its other handlers, pytest's, raise.
    handler.handle(log.makeRecord("robot.arm", 30, "", 1, "a %d", ("text",), None))
    (found,) = bench.recorded.events
    assert found.details["message"].startswith("moving to dock 3dock 3")
    assert len(found.details["message"]) == 240
    assert bench.recorded.faults == {"logging:raised": 1}


def test_extras_become_decisions_and_events(bench: BenchRecorder, log: logging.Logger) -> None:
    log.addHandler(TallyHandler(recorder=bench, per_minute=1))
    for number in range(3):
        log.info("x", extra={"tally": {"model": "m@1", "inputs": {"n": number}, "output": "go"}})
    log.info("x", extra={"tally": {"event": "arm.stalled", "force_n": "4.5"}})
    wrong: list[Any] = [
        {"modell": "m@1"},
        {"model": "m@1", "urgent": True},
        7,
        {"event": "nodot"},
        {"model": "m@1", "inputs": {"n": float("nan")}},
    ]
    for extra in wrong:
        log.info("x", extra={"tally": extra})
    found = bench.recorded
    assert [one.inputs for one in found.decisions] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert [(one.name, one.details) for one in found.events] == [
        ("arm.stalled", {"force_n": "4.5"})
    ]
    assert sum(found.faults.values()) == len(wrong)


def test_more_than_the_limit_is_counted(bench: BenchRecorder, log: logging.Logger) -> None:
    handler = TallyHandler(recorder=bench, per_minute=5)
    log.addHandler(handler)
    for _ in range(20):
        log.info("again")
    assert len(bench.recorded.events) == 5
    handler._room = 1.0
    log.info("later")
    assert bench.recorded.events[-1].details["suppressed"] == 15
    log.info("one more")
    handler.close()
    last = bench.recorded.events[-1]
    assert (last.name, last.details) == ("log.suppressed", {"suppressed": 1})
    assert PER_MINUTE == 60


def test_nothing_recurses_or_raises(bench: BenchRecorder, log: logging.Logger) -> None:
    class Echo:
        def __str__(self) -> str:
            if handler._emitting:
                log.error("said while it is said")
            return "text"

    handler = TallyHandler(recorder=bench, arguments=True)
    log.addHandler(handler)
    log.warning("%s", Echo())
    for name in ("tallystick", "tallystick.hw", "paho.mqtt"):
        assert not handler.filter(logging.LogRecord(name, 40, "", 1, "x", (), None))
    own = threading.Thread(target=log.error, args=("by the recorder's thread",), name="tallystick")
    own.start()
    own.join()
    found = bench.recorded
    assert [one.details["message"] for one in found.events] == ["text"] and found.faults == {}


def test_wrong_settings_are_refused(bench: BenchRecorder) -> None:
    for wrong in ({"per_minute": 0}, {"per_minute": True}, {"config": "x"}):
        settings: dict[str, Any] = {"recorder": bench, **wrong}
        with pytest.raises(Malformed):
            TallyHandler(**settings)


def test_it_opens_and_closes_its_own_recorder(tmp_path: Path, log: logging.Logger) -> None:
    config = Fleet(tmp_path / "fleet").device("one")
    handler = TallyHandler(config)
    log.addHandler(handler)
    log.warning("kept")
    handler.close()
    again = Recorder.open(config, background=False)
    # epoch, boot, the event, and the second boot.
    assert again.backlog() == 4
    again.close()
    log.warning("after its end")
    assert handler.recorder.health.dropped == 1
