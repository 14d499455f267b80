"""The machine: its clock, the room on its disk, and how long a COMMIT waits for that disk."""

import errno
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from tallystick.tools.doctor.findings import Finding, bad, good, not_checked, risk

FREE_SHARE_LOW = 0.2
FREE_SHARE_MIN = 0.05
FREE_BYTES_LOW = 1 << 30
FSYNC_COUNT = 32
FSYNC_BYTES = 4096
# Each group of messages waits for one COMMIT: below 20 a second a busy site waits for the disk.
FSYNC_S_SLOW = 0.05
# No disk answers sooner; what does so keeps it in a cache that a power cut empties, or in memory.
FSYNC_S_FAST = 0.000_02
ASK_S_MAX = 5.0
_MEMORY = {"tmpfs", "ramfs"}


def disk(folder: Path) -> list[Finding]:
    """Room, and the speed of fsync, where the store lies or will lie."""
    folder = next(path for path in (folder, *folder.parents) if path.is_dir())
    return [_room(folder), _speed(folder)]


def _room(folder: Path) -> Finding:
    found = os.statvfs(folder)
    free, size = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    share = free / size if size else 0.0
    said = f"{free >> 20} MiB free of {size >> 20} ({share:.0%}) in {folder}"
    advice = "make room, or move the store to a larger disk; `tally plan` says what a fleet needs"
    if share < FREE_SHARE_MIN:
        return bad("disk", said, advice)
    if share < FREE_SHARE_LOW or free < FREE_BYTES_LOW:
        return risk("disk", said, advice)
    return good("disk", said)


def fsync_s(folder: Path, count: int = FSYNC_COUNT) -> list[float]:
    """How long each of so many small appends took to be on disk, in seconds."""
    took = []
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".tally-doctor-") as probe:
        for _ in range(count):
            probe.write(b"x" * FSYNC_BYTES)
            probe.flush()
            begin = time.perf_counter()
            os.fsync(probe.fileno())
            took.append(time.perf_counter() - begin)
    return took


def _speed(folder: Path) -> Finding:
    try:
        took = fsync_s(folder)
    except OSError as error:
        what = "make room; nothing is taken while a COMMIT fails"
        if error.errno != errno.ENOSPC:
            what = "run this as a user who may write there, and look at the file system"
        return bad("fsync", f"{folder}: {error.strerror}", what)
    middle = statistics.median(took)
    said = f"{middle * 1000:.2f} ms for one, {max(took) * 1000:.2f} ms at worst, of {len(took)}"
    kind = file_system(folder)
    if kind in _MEMORY:
        return bad("fsync", f"{folder} is in memory ({kind})", "put the store on a disk")
    if middle < FSYNC_S_FAST:
        return risk(
            "fsync",
            f"{said}: no disk is so fast",
            "see whether the disk, its controller or the virtual machine ignores flushes: a power "
            "cut would lose what was acknowledged",
        )
    if middle > FSYNC_S_SLOW:
        return risk(
            "fsync",
            f"{said}: at most {1 / middle:.0f} COMMITs a second",
            "use an SSD; flash cards and network disks are slow and wear out",
        )
    return good("fsync", said)


def file_system(folder: Path) -> str:
    """The kind of file system that a folder lies on, or an empty text."""
    found, best = "", -1
    try:
        lines = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return found
    path = str(folder.resolve())
    for line in lines:
        _, mount, kind, *_ = line.split()
        inside = path == mount or path.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= best:
            found, best = kind, len(mount)
    return found


def clock() -> list[Finding]:
    """Whether somebody keeps this machine's clock right."""
    advice = "set up time synchronisation (systemd-timesyncd or chrony)"
    program = shutil.which("timedatectl")
    if program is None:
        return [not_checked("clock", "there is no timedatectl to ask", advice)]
    try:
        asked = subprocess.run(
            [program, "show", "--property", "NTPSynchronized", "--value"],
            capture_output=True,
            text=True,
            timeout=ASK_S_MAX,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return [not_checked("clock", "timedatectl does not answer", advice)]
    said = asked.stdout.strip()
    if said == "yes":
        return [good("clock", "synchronised")]
    if said == "no":
        return [risk("clock", "is not synchronised: it drifts unseen", advice)]
    return [not_checked("clock", "timedatectl says nothing of it", advice)]
