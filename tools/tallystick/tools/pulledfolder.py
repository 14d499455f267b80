"""A device's folder as `tally gateway import` reads it: pulled, exported, or a robot's own copied.

All of it is looked at when it is made, so that what is wrong is said before anything is taken.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tallystick.evidence import credential as credentials
from tallystick.evidence import segment as segments
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.hello import Hello
from tallystick.evidence.keys import PublicKey
from tallystick.tools._files import read_bytes

SEGMENTS, JOURNAL, CUSTODY, CREDENTIAL = "segments", "journal", "custody", "credential.cbor"
CREDENTIAL_BYTES_MAX = 16_384
SEGMENT_BYTES_MAX = 262_144
Part = Path | bytes  # a file of one segment, or the segment


class PulledFolder:
    """`segments`, as pulled or exported; where there are none the segments of a `journal`.

    :raises TallyError: names the file that is wrong.
    """

    def __init__(self, folder: Path, roots: Mapping[str, PublicKey]) -> None:
        self.folder = folder
        self.broken: list[str] = []  # a sentence for each epoch that cannot be read to its end
        self.unsigned = 0  # newest records without a signature, which only the device can give
        file = folder / CREDENTIAL
        _bytes_of_file(file)
        self._custody = folder / CUSTODY
        if self._custody.is_symlink():
            raise Malformed("bad-value", f"{self._custody}: is a link, and receipts would go there")
        self._credential = credentials.parse(read_bytes(file, CREDENTIAL_BYTES_MAX))
        epochs: dict[str, list[Part]] = {}
        for name, part in self._pulled() or self._of_journal(dict(roots)):
            epochs.setdefault(name.partition("-")[0], []).append(part)
        if not epochs:
            raise Malformed(
                "bad-value", f"{folder}: nothing was pulled into it, and it holds no journal"
            )
        self._epochs = [(self._hello(parts), parts) for parts in epochs.values()]
        self.device = self._epochs[0][0].device

    def messages(self) -> Iterator[tuple[bytes, bytes]]:
        """As a device sends after a connect, for each of its epochs: a hello, then what it has."""
        for hello, parts in self._epochs:
            yield hello.device, hello.encode()
            for part in parts:
                yield hello.device, _bytes(part)

    def keep(self, name: str, receipt: bytes) -> None:
        """Write a custody receipt beside what it is for; OSError where a link lies in its place."""
        self._custody.mkdir(exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with open(os.open(self._custody / name, flags, 0o644), "wb") as out:  # noqa: PTH123
            out.write(receipt)

    def _pulled(self) -> list[tuple[str, Part]]:
        paths = sorted((self.folder / SEGMENTS).glob("*.segment"), key=_ordinal)
        for path in paths:
            if _bytes_of_file(path) > SEGMENT_BYTES_MAX:
                raise Malformed("too-large", f"{path}: larger than {SEGMENT_BYTES_MAX:,} bytes")
        return [(path.name, path) for path in paths]

    def _of_journal(self, roots: dict[str, PublicKey]) -> Iterable[tuple[str, Part]]:
        journal = self.folder / JOURNAL
        if not journal.is_dir():
            return []
        for path in journal.iterdir():
            _bytes_of_file(path)
        # Not before it is needed: it loads the recorder.
        from tallystick.tools.device import pulled  # noqa: PLC0415

        try:
            who = credentials.verify_credential(self._credential, roots, None)
            found = pulled.read(journal, who, self._credential.statements)
        except TallyError as error:
            raise type(error)(error.reason, f"{self.folder}: {error.message}") from error
        self.broken += [
            f"{journal}: of epoch {epoch} the rest could not be read: {why}"
            for epoch, why in found.broken.items()
        ]
        self.unsigned += found.unsigned
        return found.segments.items()

    def _hello(self, parts: list[Part]) -> Hello:
        first, last = _segment(parts[0]), _segment(parts[-1])
        statements = self._credential.statements
        return Hello(first.device, first.epoch, first.first, last.to, statements)


def _bytes_of_file(path: Path) -> int:
    # Its length. A folder that came off a robot may hold a pipe, or a link to whatever has no end.
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise Malformed("bad-value", f"{path}: a link or a device, and no file of its own")
    return found.st_size


def _ordinal(path: Path) -> int:
    last = path.stem.rpartition("-")[2]
    if not (last.isascii() and last.isdecimal()):
        raise Malformed("bad-value", f"{path}: not a file of `tally device pull`")
    return int(last)


def _bytes(part: Part) -> bytes:
    return read_bytes(part, SEGMENT_BYTES_MAX) if isinstance(part, Path) else part


def _segment(part: Part) -> segments.Segment:
    try:
        return segments.parse(_bytes(part))
    except TallyError as error:
        raise Malformed(error.reason, f"{part!s}: {error.message}") from error


def segment_file(path: Path) -> tuple[bytes, bytes]:
    """(device, segment) of a file that holds one; an error names the file."""
    return _segment(path).device, _bytes(path)
