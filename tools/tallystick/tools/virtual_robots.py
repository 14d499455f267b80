"""Virtual secure elements for the demo's and the replay's robots: made, set up, ready to sign.

They protect nothing (`tally chip` says so); they behave as chips do, at a chip's own speed.
"""

from pathlib import Path

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw.atecc608_setup import provision
from tallystick.hw.virtual_atecc608 import VirtualAtecc608


def new_chip(path: Path) -> str:
    """Make a virtual ATECC608 in the new file `path`, set it up for us; its key's URI."""
    VirtualAtecc608.new(str(path))
    uri = f"atecc608:virtual={path}"
    opened = VirtualAtecc608.open(str(path))
    try:
        serial = opened.eeprom.serial.hex()
    finally:
        opened.close()
    if provision(uri, lambda _: serial, lambda _: None) is None:
        raise KeyDriverError("no-key", f"{path}: the chip was not set up")
    return uri
