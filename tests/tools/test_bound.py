"""A program that is killed leaves none of the servers running that it started."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tallystick.tools import _bound
from tallystick.tools._bound import bound

GONE_S = 60
COMMAND = ["sleep", "60"]
STARTS = {
    "swtpm": "from tallystick.tools.swtpm import Swtpm as Server",
    "mosquitto": "from tallystick.tools.mosquitto import Mosquitto as Server",
}
PROGRAM = """
import sys, time
from pathlib import Path
{start}
with Server(Path(sys.argv[1])) as server:
    print(server.pid, flush=True)
    time.sleep(60)
"""


def lives(pid: int) -> bool:
    # A dead one may wait for its new parent to look at it.
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.usefixtures("swtpm", "mosquitto")
@pytest.mark.parametrize("server", STARTS)
def test_who_is_killed_takes_its_servers_along(tmp_path: Path, server: str) -> None:
    if sys.platform != "linux" or shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(start=STARTS[server]), str(tmp_path / "state")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    pid = int(program.stdout.readline())
    assert lives(pid)
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    program.stdout.close()
    end = time.monotonic() + GONE_S
    while lives(pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not lives(pid)


def test_a_thread_does_not_bind_what_outlives_it() -> None:
    found: list[list[str]] = []
    thread = threading.Thread(target=lambda: found.append(bound(COMMAND)))
    thread.start()
    thread.join()
    assert found == [COMMAND]


def test_without_a_setpriv_that_knows_it_the_command_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "setpriv"
    other.write_text("#!/bin/sh\nexit 1\n")
    other.chmod(0o755)
    for path in (str(tmp_path), str(tmp_path / "nothing")):
        monkeypatch.setenv("PATH", path)
        _bound._setpriv.cache_clear()
        assert bound(COMMAND) == COMMAND
    _bound._setpriv.cache_clear()
