"""The user's cache folder, and how a folder gets into it whole or not at all.

Two processes may want the same folder at once (tests run beside each other), and either may be
killed. So a folder is made beside its final place, under a lock, and renamed into it.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tallystick.evidence.errors import TallyError

# What was compiled from sources that have changed since.
UNUSED_S_MAX = 3 * 24 * 3600


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
    if final.is_dir():
        with contextlib.suppress(OSError):
            os.utime(final)
        return final
    with _locked(base / f"{name}.lock"):
        if final.is_dir():
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
    """Remove the folders `prefix-...` that nobody has asked for in UNUSED_S_MAX seconds."""
    limit = time.time() - UNUSED_S_MAX
    for folder in cache_folder().glob(f"{prefix}-*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_mtime < limit:
                if folder.is_dir():
                    shutil.rmtree(folder, ignore_errors=True)
                else:
                    folder.unlink()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        # The kernel frees the lock when its holder dies, so no lock is ever stale.
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
