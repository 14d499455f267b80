"""What libraries and threads say is a line of the service's own log."""

import json
import logging
import threading
from collections.abc import Iterator

import pytest
import structlog

from tallystick.gateway import logs
from tallystick.hw import foreignlogs


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    hook, handlers = threading.excepthook, list(logging.getLogger().handlers)
    yield
    threading.excepthook = hook
    logging.getLogger().handlers = handlers
    structlog.reset_defaults()


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_what_a_thread_raises(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    foreignlogs.take()

    def fails() -> None:
        secret = "canary-of-a-variable-99"
        raise ZeroDivisionError(len(secret))

    failing = threading.Thread(target=fails, name="pruning")
    failing.start()
    failing.join()
    (line,) = said(capsys)
    assert (line["thread"], line["level"]) == ("pruning", "error")
    assert "ZeroDivisionError: 23" in line["exception"]
    assert "canary" not in line["exception"]


def test_what_a_library_says(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    foreignlogs.take()
    foreignlogs.take()  # once is enough
    library = logging.getLogger("somebody.else")
    library.warning("%s of %d", "three", 4)
    library.info("nobody wants to know")
    try:
        int("x")
    except ValueError:
        library.exception("it failed")
    first, second = said(capsys)
    assert (first["event"], first["level"]) == ("three of 4", "warning")
    assert (second["event"], second["level"]) == ("it failed", "error")
    assert "ValueError: invalid literal" in second["exception"]
