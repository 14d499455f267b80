"""`tally validator run` as a process: ready, one log a store, clean on SIGTERM and SIGINT."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from support.devices import Fleet
from support.validating import TOKEN, write_config


def _run(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from tallystick.tools.main import main; main()",
         "validator", "run", "--config", str(path)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_and_ends_cleanly(tmp_path: Path, fleet: Fleet, ending: signal.Signals) -> None:
    path = write_config(tmp_path / "v", [fleet])
    running = _run(path)
    try:
        assert running.stderr is not None
        line = running.stderr.readline()
        url = line.split()[-1]
        assert httpx2.get(f"{url}/readyz", timeout=60).status_code == 200
        second = _run(path)
        _, told = second.communicate(timeout=90)
        assert second.returncode == 1
        assert "open in another process" in told
        assert "Traceback" not in told
        running.send_signal(ending)
        _, told = running.communicate(timeout=90)
        assert running.returncode == 0
        assert "Traceback" not in told
        assert TOKEN not in line + told
    finally:
        running.kill()


def test_a_taken_port_is_one_sentence(tmp_path: Path, fleet: Fleet) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path = write_config(tmp_path / "v", [fleet], bind=f'"127.0.0.1:{port}"')
        ran = _run(path)
        _, told = ran.communicate(timeout=90)
    assert ran.returncode == 1
    assert f"bind 127.0.0.1:{port}" in told
    assert "Traceback" not in told
