"""The user's cache folder, and how a folder gets into it whole or not at all.

Two processes may want the same folder at once (tests run beside each other), and either may be
killed. So a folder is made beside its final place, under a lock, and renamed into it.
"""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from tallystick.evidence.errors import TallyError

# What was compiled from sources that have changed since: so many of a name stay, and none so long.
UNUSED_KEPT_MAX = 8
UNUSED_S_MAX = 3 * 24 * 3600
# Who asked for a folder may still work in it.
IN_USE_S_MAX = 2 * 3600
# A name with a digest of what the folder was made of. What came over the network stays longer.
_MADE = re.compile(r"(?!micropython)(.+)-[0-9a-f]{16}")


class ToolMissing(TallyError):
    """A program or library that a command needs is not here; the message says how to get it."""


def cache_folder() -> Path:
    """The cache of this user: `$XDG_CACHE_HOME/tallystick`, else `~/.cache/tallystick`."""
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "tallystick"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"cannot make the cache folder {folder} ({error.strerror}); set XDG_CACHE_HOME"
        raise ToolMissing("cache-unwritable", reason) from error
    return folder


def folder_once(name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache; when it is not there yet, `make(empty folder)` fills it.

    What `make` raises is passed on, and leaves nothing behind.
    """
    base = cache_folder()
    final = base / name
    with _locked(base / f"{name}.lock"):
        if final.is_dir():
            with contextlib.suppress(OSError):
                os.utime(final)
            return final
        making = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=base))
        try:
            make(making)
            making.chmod(0o755)
            making.rename(final)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return final


def forget_unused(prefix: str) -> None:
    """Remove folders `prefix-DIGEST` beyond the newest UNUSED_KEPT_MAX, and old ones of any prefix.

    None that somebody asked for in the last IN_USE_S_MAX seconds, nor one that is being made.
    """
    now = time.time()
    found: list[tuple[float, Path]] = []
    for folder in cache_folder().iterdir():
        made = _MADE.fullmatch(folder.name)
        if made is None:
            continue
        with contextlib.suppress(OSError):
            used = folder.stat().st_mtime
            if now - used > UNUSED_S_MAX:
                _forget(folder, UNUSED_S_MAX)
            elif made[1] == prefix:
                found.append((used, folder))
    for _, folder in sorted(found, reverse=True)[UNUSED_KEPT_MAX:]:
        with contextlib.suppress(OSError):
            _forget(folder, IN_USE_S_MAX)


def _forget(folder: Path, unused_s: float) -> None:
    """Remove one folder and its lock, unless somebody has the lock or asked for it since."""
    path = folder.with_name(f"{folder.name}.lock")
    with path.open("w") as lock:
        # BlockingIOError, an OSError: it is being made, or asked for right now.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is(path, lock) and time.time() - folder.stat().st_mtime > unused_s:
            shutil.rmtree(folder, ignore_errors=True)
            path.unlink()


def _is(path: Path, lock: IO[str]) -> bool:
    """Whether the path is still this file: who removes a folder removes its lock's too."""
    try:
        return os.path.samestat(path.stat(), os.fstat(lock.fileno()))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    while True:
        with path.open("w") as lock:
            # The kernel frees the lock when its holder dies, so no lock is ever stale.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is(path, lock):
                yield
                return
