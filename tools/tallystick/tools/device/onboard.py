"""What a recorder left on a board: configuration, credential, journal. The key is never read."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tallystick.evidence import credential as credentials
from tallystick.evidence.credential import Identity
from tallystick.evidence.errors import Malformed, TallyError, TransportError
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.root import parse_root
from tallystick.recorder.core import Log
from tallystick.recorder.files import Files
from tallystick.recorder.journal import SUFFIX, Journal
from tallystick.recorder.replay import open_journal
from tallystick.recorder.walking import Walker
from tallystick.tools.device.connection import Connection

CONFIG = "/tallystick.json"
LOCK = "lock"
UNBOUNDED = 1 << 40
DEVICE_SIZE = 32
HEADER_VALUES_MIN = 13


@dataclass(frozen=True)
class Onboard:
    """config: as in the file; journal: its files by name to (bytes, SHA-256)."""

    config: dict[str, Any]
    journal_folder: str
    journal: dict[str, tuple[int, str]]

    @property
    def newest(self) -> str | None:
        """The name of the journal's newest file."""
        return max(filter(_order, self.journal), key=_order, default=None)

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


def _order(name: str) -> tuple[int, ...]:
    """By number, and by how often it was compacted; empty for what is no file of a journal."""
    parts = name.removesuffix(SUFFIX).split("-")
    return tuple(map(int, parts)) if all(part.isdigit() for part in parts) else ()


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


def open_copy(folder: Path) -> tuple[Journal, Log | None]:
    """Open a copy of a journal; what a power cut tore is cut off this copy, as at a boot.

    :raises TallyError: its newest file has no header.
    """
    files = Files(str(folder))
    newest = max(filter(_order, files.names()), key=_order, default=None)
    journal = Journal(files, UNBOUNDED, UNBOUNDED)
    if newest is None:
        return journal, None
    device = header(files, newest)[2]
    if not isinstance(device, bytes) or len(device) != DEVICE_SIZE:
        raise Malformed("bad-value", f"{newest} is no file of a journal")
    return journal, open_journal(journal, device)


def header(files: Files, name: str) -> list[Any]:
    """The values of a file's first frame.

    :raises Malformed: it has none.
    """
    walker = Walker(files, name)
    try:
        frame = walker.next()
        values = walker.values(frame) if frame is not None else []
    finally:
        walker.close()
    if len(values) < HEADER_VALUES_MIN:
        raise Malformed("bad-value", f"{name} is no file of a journal")
    return values
