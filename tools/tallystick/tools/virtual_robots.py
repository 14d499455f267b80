"""Virtual secure elements for the demo's and the replay's robots: made, set up, ready to sign.

They protect nothing (`tally chip` says so); they behave as chips do, at a chip's own speed.
"""

import socket
import time
from pathlib import Path

from tallystick.evidence.errors import KeyDriverError, TransportError
from tallystick.hw.atecc608_setup import provision
from tallystick.hw.virtual_atecc608 import VirtualAtecc608

START_S_MAX = 60.0
POLL_S = 0.05


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


def wait_for_chip(host: str, port: int) -> None:
    """Return when a served chip accepts connections; TransportError after a time."""
    end = time.monotonic() + START_S_MAX
    while True:
        try:
            socket.create_connection((host, port), timeout=POLL_S).close()
        except OSError:
            if time.monotonic() > end:
                message = f"no chip answered at {host}:{port} in {START_S_MAX:.0f} s"
                raise TransportError("chip-failed", message) from None
            time.sleep(POLL_S)
        else:
            return
