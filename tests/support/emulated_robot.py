"""A robot on an emulated board: our library, an enrolled identity, a program that records."""

import json
from pathlib import Path

from support import devices
from support.emulated_device import EmulatedDevice
from tallystick.evidence import cbor
from tallystick.tools.device.board import LIBRARY
from tallystick.tools.device.manifest import Library, compiled_library

FLEET = "acme"
# It records as fast as a control loop may, and says so to whoever looks at its terminal.
MAIN = """
import time
from tallystick.recorder import Recorder
tally = Recorder.open()
n = 0
while True:
    n += 1
    tally.decision("grasp-net@1", {"n": n}, {"speed_m_s": ("0.4", "<=", "0.5", "m/s")}, "grip")
    tally.poll()
    time.sleep(0.01)
"""


def enrolled(folder: Path, **settings: object) -> dict[str, bytes]:
    """What `tally device provision` leaves on a board, by paths there."""
    fleet = devices.Fleet(FLEET)
    device = fleet.device()
    key = folder / "robot.key"
    devices.write_key(key, device.signer)
    config = {
        "fleet": FLEET,
        "key": "file:key",
        "journal": "journal",
        "credential": "credential.cbor",
        "roots": [fleet.root_line],
        "checkpoint_records": 16,
        "checkpoint_s": 0.2,
        "journal_bytes": 200_000,
        **settings,
    }
    return {
        "/tallystick.json": json.dumps(config).encode(),
        "/credential.cbor": cbor.encode(list(device.credential)),
        "/key": key.read_bytes(),
    }


def library_files(library: Library | None = None) -> dict[str, bytes]:
    """What `tally device flash` leaves on a board, by paths there."""
    made = library or compiled_library()
    return {**{f"{LIBRARY}/{path}": data for path, data in made.files.items()}, **made.others}


def robot(device: EmulatedDevice, folder: Path, main: str = MAIN, **settings: object) -> None:
    """Load a board without power with all of it."""
    device.load({**library_files(), **enrolled(folder, **settings), "/main.py": main.encode()})
