"""Whether an export has room: one beside the store must not stop the gateway that takes records."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from tallystick.evidence.errors import CouldNotCheck

if TYPE_CHECKING:
    from tallystick.gateway.exporting import Wanted

# Names, lines, receipts and evidence files beside the segments.
_NEEDED_PERCENT = 130
# The gateway takes no more when its disk is 95 percent full (docs/durability.md, 2).
_KEPT_PERCENT = 10
_FILE_BYTES = 4096  # what a file of one byte takes


def look_for_room(connection: sqlite3.Connection, wanted: "Wanted", folder: Path) -> None:
    """CouldNotCheck unless what is wanted fits `folder` and a tenth of the disk stays free."""
    count, size = connection.execute(
        "SELECT count(*), coalesce(sum(length(s.data)), 0) FROM segments s "
        "JOIN tracks t USING (track) WHERE s.time_ms BETWEEN ? AND ? "
        "AND (? OR hex(t.device) IN (SELECT value FROM json_each(?)))",
        (
            wanted.from_ms,
            wanted.until_ms,
            not wanted.devices,
            json.dumps([device.hex().upper() for device in wanted.devices]),
        ),
    ).fetchone()
    needed = (size + count * _FILE_BYTES) * _NEEDED_PERCENT // 100
    disk = shutil.disk_usage(folder)
    # A hundredth of what is free hurts nobody, be the disk as full as it is.
    room = max(disk.free // 100, disk.free - disk.total * _KEPT_PERCENT // 100)
    if needed > room:
        raise CouldNotCheck(
            "bad-value",
            f"{folder}: {count} segments take about {needed >> 20} MiB, and {room >> 20} "
            "MiB may be taken there, so that a tenth of the disk stays free: choose another disk, "
            "or fewer with --device, --from and --until",
        )
