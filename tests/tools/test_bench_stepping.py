"""What each step of a record costs is measured in a heap that whole segments would fill."""

from pathlib import Path

from tallystick.tools.bench import record
from tallystick.tools.bench.stepping import STEPS
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.micropython import MicroPython

KIB = 128  # a segment of 64 records has 13 KiB, and what is loaded takes most of this


def test_sending_needs_no_room_for_segments(micropython32: MicroPython, tmp_path: Path) -> None:
    site = record.Site(tmp_path, Fleet.init(tmp_path / "fleet", "bench"))
    folder = tmp_path / "micropython"
    folder.mkdir()
    (folder / "lib").symlink_to(record.library())
    device = record.Device(micropython32, folder, 1)
    found = device.module("stepping", *site.stepped("steps", 32), kib=KIB)
    assert set(found) == set(STEPS)
    assert all(found.values())
