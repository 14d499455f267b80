"""What a recorder left on a board: configuration, credential, journal. The key is never read."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tallystick.evidence import credential as credentials
from tallystick.evidence.credential import Identity
from tallystick.evidence.errors import TallyError, TransportError
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.root import parse_root
from tallystick.recorder.core import Log
from tallystick.recorder.journal import SUFFIX
from tallystick.tools.device.connection import Connection
from tallystick.tools.device.journalcopy import open_copy, order

CONFIG = "/tallystick.json"
LOCK = "lock"


@dataclass(frozen=True)
class Onboard:
    """config: as in the file; journal: its files by name to (bytes, SHA-256)."""

    config: dict[str, Any]
    journal_folder: str
    journal: dict[str, tuple[int, str]]

    @property
    def newest(self) -> str | None:
        """The name of the journal's newest file."""
        return max(filter(order, self.journal), key=order, default=None)

    @property
    def key(self) -> str:
        """Where the key is: the URI's scheme."""
        return str(self.config.get("key", "")).partition(":")[0]

    @property
    def key_path(self) -> str | None:
        """Of a key in a file on the board."""
        scheme, _, path = str(self.config.get("key", "")).partition(":")
        return beside(path) if scheme == "file" else None

    @property
    def used(self) -> int:
        """Bytes of the journal."""
        return sum(size for size, _ in self.journal.values())


def beside(path: str) -> str:
    """A path of the configuration, which lies in the root folder."""
    return path if path.startswith("/") else "/" + path


def read(connection: Connection) -> Onboard | None:
    """What is there; None on a board without a configuration.

    :raises TransportError: `bad-config`.
    """
    if not connection.ask(f"_there({CONFIG!r})"):
        return None
    data = connection.get(CONFIG)
    try:
        config = json.loads(data)
    except ValueError as error:
        message = f"{connection.port}: {CONFIG} on the board is no JSON ({error})"
        raise TransportError("bad-config", message) from error
    if not isinstance(config, dict):
        raise TransportError("bad-config", f"{connection.port}: {CONFIG} is no JSON object")
    folder = beside(str(config.get("journal", "journal"))).rstrip("/")
    found = connection.files(folder)
    prefix = len(folder) + 1
    journal = {path[prefix:]: row for path, row in found.items() if path.endswith(SUFFIX)}
    return Onboard(config, folder, journal)


def read_credential(connection: Connection, onboard: Onboard) -> bytes | None:
    """The credential's bytes, where one is configured and there."""
    name = onboard.config.get("credential")
    if not isinstance(name, str) or not connection.ask(f"_there({beside(name)!r})"):
        return None
    return connection.get(beside(name))


def identity(config: dict[str, Any], credential: bytes) -> Identity:
    """Who the device is, verified against the fleet roots that its configuration pins.

    :raises TallyError: what is wrong with it.
    """
    roots: dict[str, PublicKey] = dict(map(parse_root, config.get("roots", [])))
    return credentials.verify_credential(credentials.parse(credential), roots)


def newest_log(connection: Connection, onboard: Onboard) -> Log | None:
    """The log as the journal's newest file tells it; None without one that can be read."""
    if onboard.newest is None:
        return None
    with tempfile.TemporaryDirectory(prefix="tally-device.") as temporary:
        data = connection.get(f"{onboard.journal_folder}/{onboard.newest}")
        (Path(temporary) / onboard.newest).write_bytes(data)
        try:
            return open_copy(Path(temporary))[1]
        except TallyError:
            return None
