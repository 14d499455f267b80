"""scripts/within: what CI runs ends, and so does all that it started."""

import os
import subprocess
from pathlib import Path

WITHIN = Path(__file__).parent.parent / "scripts" / "within"


def _within(limit_s: int, script: str) -> subprocess.CompletedProcess[str]:
    # The end of its output is waited for, as CI waits for it.
    return subprocess.run(
        [WITHIN, str(limit_s), "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_what_outlives_the_command_is_named_and_ended() -> None:
    ran = _within(20, "setsid sleep 300 & echo $!; exit 3")
    assert ran.returncode == 3
    assert "left behind and ended" in ran.stderr
    assert "sleep 300" in ran.stderr
    assert not Path(f"/proc/{ran.stdout.strip()}").exists()


def test_a_command_that_hangs_is_ended() -> None:
    ran = _within(1, "echo $$; exec sleep 300")
    assert ran.returncode == 124
    assert "took over 1 s" in ran.stderr
    assert not Path(f"/proc/{ran.stdout.strip()}").exists()


def test_a_crash_is_an_exit_code() -> None:
    assert _within(20, "kill -SEGV $$").returncode == 139
    assert _within(20, f"test $PPID != {os.getpid()}").returncode == 0
