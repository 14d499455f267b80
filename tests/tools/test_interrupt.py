"""Ctrl-C while a process is being started: it is known, so it is ended."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tallystick.tools._bound import bound
from tallystick.tools._interrupt import on_hangup, uninterrupted, until_signalled
from tallystick.tools.mosquitto import Mosquitto
from tallystick.tools.replay.processes import Processes


def test_an_interrupt_comes_after_the_block() -> None:
    before = signal.getsignal(signal.SIGINT)
    done = []

    def block(signals: int) -> None:
        with uninterrupted():
            for _ in range(signals):
                os.kill(os.getpid(), signal.SIGINT)
            done.append(signals)

    with pytest.raises(KeyboardInterrupt):
        block(1)
    assert done == [1]
    assert signal.getsignal(signal.SIGINT) is before
    block(0)
    assert done == [1, 0]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Every process that is started from now on; each start is interrupted as soon as it forked."""
    found: list[subprocess.Popen[bytes]] = []
    bound([])  # looks once what setpriv can do, by a process that is none of these
    real = subprocess.Popen

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        process = real(*args, **kwargs)
        found.append(process)
        os.kill(os.getpid(), signal.SIGINT)
        return process

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    return found


def test_processes(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    with pytest.raises(KeyboardInterrupt), Processes(tmp_path) as processes:
        processes.start("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"])
    assert [process.poll() is not None for process in started] == [True]


def test_a_broker(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    with pytest.raises(KeyboardInterrupt), Mosquitto(tmp_path):
        pytest.fail("it was interrupted at its start")
    assert [process.poll() is not None for process in started] == [True]


def test_a_broker_that_does_not_answer_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Mosquitto(tmp_path)

    def interrupted(*_args: Any, **_kwargs: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(socket, "create_connection", interrupted)
    with pytest.raises(KeyboardInterrupt), broker:
        pytest.fail("it was interrupted at its start")
    assert not broker.running
    assert broker._process is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_in_the_middle_of_a_wait_is_heard(number: signal.Signals) -> None:
    """The main thread holds the event's lock for a moment whenever it begins or ends to wait."""
    event = on_hangup() if number == signal.SIGHUP else until_signalled()
    with event._cond:  # type: ignore[attr-defined]
        signal.raise_signal(number)
    assert event.wait(60)
