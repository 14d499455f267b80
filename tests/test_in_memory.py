"""Temporary files of a run: in memory where it has room, removed when the run is over."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from support import in_memory

AGO_S = 2 * in_memory.YOUNG_S
OTHER = """
import sys, time
from pathlib import Path
from support.in_memory import enter
print(enter(Path(sys.argv[1]), 1).path, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def nobody_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", tempfile.tempdir)
    # So that it is put back, whatever a test makes of it.
    monkeypatch.setenv("TMPDIR", "")
    monkeypatch.delenv("TALLY_TESTS_ON_DISK", raising=False)


def entered(memory: Path) -> in_memory.Folder:
    os.environ["TMPDIR"] = ""
    found = in_memory.enter(memory, 1)
    assert found is not None
    os.utime(found.path, (0, found.path.stat().st_mtime - AGO_S))
    return found


def test_a_run_has_its_folder(tmp_path: Path) -> None:
    found = entered(tmp_path)
    assert Path(tempfile.gettempdir()) == found.path
    assert os.environ["TMPDIR"] == str(found.path)
    assert found.path.stat().st_mode & 0o7777 == 0o1777
    (found.path / "made").write_text("by a test")
    found.close()
    assert not found.path.exists()


def test_what_failed_stays_until_the_next_run(tmp_path: Path) -> None:
    failed = entered(tmp_path)
    failed.keep = True
    failed.close()
    assert failed.path.exists()
    entered(tmp_path).close()
    assert not failed.path.exists()


def test_a_run_that_goes_on_keeps_its_folder_and_a_killed_one_does_not(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(tmp_path)], env=environment, stdout=subprocess.PIPE
    ) as other:
        try:
            assert other.stdout is not None
            path = Path(other.stdout.readline().decode().strip())
            os.utime(path, (0, path.stat().st_mtime - AGO_S))
            entered(tmp_path).close()
            assert path.exists()
        finally:
            other.send_signal(signal.SIGKILL)
    entered(tmp_path).close()
    assert not path.exists()


def test_a_folder_that_was_just_made_may_not_be_held_yet(tmp_path: Path) -> None:
    (tmp_path / f"{in_memory.PREFIX}new").mkdir()
    entered(tmp_path).close()
    assert (tmp_path / f"{in_memory.PREFIX}new").exists()


def test_the_disk_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLY_TESTS_ON_DISK", "1")
    assert in_memory.enter(tmp_path, 1) is None
    monkeypatch.delenv("TALLY_TESTS_ON_DISK")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert in_memory.enter(tmp_path, 1) is None
    assert os.environ["TMPDIR"] == str(tmp_path)


def test_without_room_or_without_such_a_file_system_it_is_the_disk(tmp_path: Path) -> None:
    assert in_memory.enter(tmp_path, 1 << 62) is None
    assert in_memory.enter(tmp_path / "none", 1) is None
    assert os.environ["TMPDIR"] == ""
