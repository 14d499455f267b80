"""Servers that we start end when we do, killed or not: by Linux's parent death signal."""

import shutil
import subprocess
import threading
from functools import cache

PROBE_TIMEOUT_S = 60


def bound(command: list[str]) -> list[str]:
    """The command, asked to end (SIGTERM) when this process dies; as it is where that cannot be.

    It needs setpriv (util-linux), which becomes the command: the process id is the command's own.
    The signal comes when the *thread* that started the command ends, so only the main thread may
    ask for it. Not by `preexec_fn`, which may deadlock where there are threads.
    """
    setpriv = _setpriv() if threading.current_thread() is threading.main_thread() else None
    return command if setpriv is None else [setpriv, "--pdeathsig", "TERM", "--", *command]


@cache
def _setpriv() -> str | None:
    found = shutil.which("setpriv")
    if found is None:
        return None
    # Not every setpriv has it: BusyBox's has not.
    try:
        done = subprocess.run(
            [found, "--pdeathsig", "TERM", "--", found, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=PROBE_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found if done.returncode == 0 else None
