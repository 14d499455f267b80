"""A folder gets into the cache whole or not at all, and once."""

import contextlib
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


def touch(folder: Path) -> None:
    (folder / "file").touch()


def aged(name: str, unused_s: float) -> Path:
    folder = _cache.folder_once(name, touch)
    then = time.time() - unused_s
    os.utime(folder, (then, then))
    return folder


def digest(number: int) -> str:
    return f"{number:016x}"


def test_only_the_unused_are_forgotten() -> None:
    old = aged(f"thing-{digest(0)}", _cache.UNUSED_S_MAX + 60)
    other = aged(f"other-thing-{digest(0)}", _cache.UNUSED_S_MAX + 60)
    new = aged(f"thing-{digest(1)}", _cache.UNUSED_S_MAX + 60)
    fetched = aged(f"micropython-lib-{digest(0)}", _cache.UNUSED_S_MAX + 60)
    plain = aged("thing-without-a-digest", _cache.UNUSED_S_MAX + 60)
    _cache.folder_once(new.name, lambda _: pytest.fail("made twice"))
    _cache.forget_unused("thing")
    assert new.is_dir() and fetched.is_dir() and plain.is_dir()
    for gone in (old, other):
        assert not gone.exists()
        assert not gone.with_name(f"{gone.name}.lock").exists()


def test_the_newest_are_kept_and_who_is_in_use() -> None:
    count = _cache.UNUSED_KEPT_MAX
    unused_s = _cache.IN_USE_S_MAX + 60
    made = [aged(f"thing-{digest(n)}", unused_s + n) for n in range(count + 3)]
    used = [aged(f"thing-{digest(100 + n)}", n) for n in range(count + 3)]
    others = [aged(f"other-{digest(n)}", unused_s) for n in range(count + 3)]
    _cache.forget_unused("thing")
    assert all(folder.is_dir() for folder in used + others)
    assert not any(folder.exists() for folder in made)
    _cache.forget_unused("other")
    assert sum(folder.is_dir() for folder in others) == count


def test_what_somebody_has_locked_is_not_forgotten(own_cache: Path) -> None:
    held = aged(f"thing-{digest(0)}", _cache.UNUSED_S_MAX + 60)
    with _cache._locked(own_cache / f"{held.name}.lock"):
        _cache.forget_unused("thing")
        assert held.is_dir()
    _cache.forget_unused("thing")
    assert not held.exists()


def test_a_lock_whose_file_was_removed_holds_whoever_waited_for_it(own_cache: Path) -> None:
    path = _cache.cache_folder() / "thing.lock"
    inside = threading.Event()

    def wait() -> None:
        with _cache._locked(path):
            inside.set()

    waiting = threading.Thread(target=wait)
    with _cache._locked(path):
        waiting.start()
        time.sleep(0.1)
        path.unlink()
        # Whoever comes now has the new file's lock; who waited for the old one waits on.
        new = _cache._locked(path)
        new.__enter__()
    assert not inside.wait(0.3)
    new.__exit__(None, None, None)
    waiting.join()
    assert inside.is_set()


def test_forgetting_and_asking_at_once_leave_whoever_asks_a_whole_folder() -> None:
    """A lock whose file was removed holds nobody off, so nobody relies on one."""
    names = [f"thing-{digest(n)}" for n in range(3)]
    missing: list[str] = []
    end = time.monotonic() + 1.5

    def ask(name: str) -> None:
        while time.monotonic() < end:
            folder = _cache.folder_once(name, touch)
            if not (folder / "file").is_file():
                missing.append(name)
            # As if long ago; whoever asks next makes it young again.
            with contextlib.suppress(OSError):
                os.utime(folder, (1, 1))

    def forget() -> None:
        while time.monotonic() < end:
            _cache.forget_unused("thing")

    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    threads += [threading.Thread(target=forget) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missing == []


def test_a_cache_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(_cache.ToolMissing, match="set XDG_CACHE_HOME"):
        _cache.cache_folder()
