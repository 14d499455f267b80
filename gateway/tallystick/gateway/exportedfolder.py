"""A folder of one exported device: its segments, and what proves them (exporting.py)."""

import json
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from tallystick.evidence.credential import Credential, Identity
from tallystick.evidence.digest import sha256
from tallystick.gateway.exportedevidence import Custody, Heads, Receipts
from tallystick.gateway.storedsegment import StoredSegment


class ExportedDevice(NamedTuple):
    """Whose folder it is; `identity` is None where no root vouches for it any more."""

    id: bytes
    credential: list[bytes]
    identity: Identity | None


class DeviceFolder:
    """What goes out of one device; no folder where nothing does."""

    def __init__(
        self,
        folder: Path,
        device: ExportedDevice,
        own: list[list[bytes]],
        receipts: Receipts,
        custody: Custody,
    ) -> None:
        self._folder = folder
        self._device = device
        self._own = own
        self._proves = (receipts, custody)
        self._lines: TextIO | None = None
        self.heads = Heads(*self._proves)
        self.count = 0
        self.evidence = 0
        self.left_out = 0  # heads whose evidence nobody would read: its credentials are too long

    def add(self, row: StoredSegment, data: bytes, time_ms: int, gone: list[str]) -> None:
        """One segment, as it goes out."""
        lines = self._lines or self._begun()
        self.count += 1
        name = f"{(row.epoch or b'').hex()}-{self.count}.segment"
        write_new(self._folder / "segments" / name, data)
        line: dict[str, Any] = {"file": name, "from": row.first, "to": row.until, "place": row.at}
        line |= {"taken_ms": time_ms, "sha256": sha256(data).hex(), "pruned": gone}
        line["as_stored"] = data == row.data
        lines.write(json.dumps(line) + "\n")
        if self.heads.full:
            self._flush()
        self.heads.add(row.data[len(row.data) - row.tail :])

    def _begun(self) -> TextIO:
        (self._folder / "segments").mkdir(parents=True)
        (self._folder / "evidence").mkdir()
        credential = Credential(self._device.credential).encode()
        write_new(self._folder / "credential.cbor", credential)
        self._lines = (self._folder / "segments.jsonl").open("x")
        return self._lines

    def _flush(self) -> None:
        data = self.heads.encode(self._device.credential, self._own)
        if data is None:
            self.left_out += self.heads.count
        else:
            self.evidence += 1
            write_new(self._folder / "evidence" / f"{self.evidence:06}.tally", data)
        self.heads = Heads(*self._proves)

    def close(self) -> None:
        """Write what is left."""
        if self._lines is not None:
            self._flush()
            self._lines.close()


def write_new(path: Path, data: bytes) -> None:
    """A file that was not there."""
    with path.open("xb") as file:
        file.write(data)
