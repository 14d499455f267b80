"""A folder gets into the cache whole or not at all, and once."""

import os
import threading
import time
from pathlib import Path

import pytest

from tallystick.tools import _cache


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "tallystick"


def test_many_ask_and_one_makes() -> None:
    made: list[str] = []

    def make(folder: Path) -> None:
        made.append(folder.name)
        time.sleep(0.05)
        (folder / "file").write_text("whole")

    def ask() -> None:
        assert (_cache.folder_once("thing", make) / "file").read_text() == "whole"

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_what_fails_leaves_nothing(own_cache: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise _cache.ToolMissing("no-thing", "there is no thing")

    with pytest.raises(_cache.ToolMissing, match="no thing"):
        _cache.folder_once("thing", make)
    assert [path.name for path in own_cache.iterdir()] == ["thing.lock"]


def test_only_the_unused_are_forgotten(own_cache: Path) -> None:
    old = _cache.folder_once("thing-old", lambda folder: (folder / "file").touch())
    new = _cache.folder_once("thing-new", lambda folder: (folder / "file").touch())
    long_ago = time.time() - _cache.UNUSED_S_MAX - 60
    for folder in (old, new):
        os.utime(folder, (long_ago, long_ago))
    _cache.folder_once("thing-new", lambda _: pytest.fail("made twice"))
    _cache.forget_unused("thing")
    assert new.is_dir()
    assert not old.exists()


def test_a_cache_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(_cache.ToolMissing, match="set XDG_CACHE_HOME"):
        _cache.cache_folder()
