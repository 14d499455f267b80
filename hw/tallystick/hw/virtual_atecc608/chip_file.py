# CPython only
"""A chip's memory in a file: one process at a time, each change whole or not at all.

The file is a line that says what it is, the 1,400 bytes of the memory in plain, and their SHA-256.
"""

import contextlib
import fcntl
import hashlib
import os
import tempfile

from tallystick.evidence.errors import KeyDriverError, Malformed, TallyError
from tallystick.hw.virtual_atecc608.eeprom import EEPROM_BYTES, Eeprom

HEADER = b"tallystick virtual ATECC608, version 1: protects nothing, its keys are plain\n"
FILE_BYTES = len(HEADER) + EEPROM_BYTES + 32


def encode(eeprom: Eeprom) -> bytes:
    """The file's bytes."""
    memory = bytes(eeprom.memory)
    return HEADER + memory + hashlib.sha256(memory).digest()


def parse(data: bytes) -> Eeprom:
    """Inverse of encode; Malformed for anything else."""
    if len(data) != FILE_BYTES or not data.startswith(HEADER):
        raise Malformed("bad-chip-file", "is no file of a virtual ATECC608")
    memory, digest = data[len(HEADER) : -32], data[-32:]
    if hashlib.sha256(memory).digest() != digest:
        raise Malformed("bad-chip-file", "its memory does not match its SHA-256: it was changed")
    return Eeprom(memory)


class Memory:
    """A chip's memory that ends with the process."""

    def __init__(self, eeprom: Eeprom) -> None:
        self.eeprom = eeprom

    def save(self, eeprom: Eeprom) -> None:
        """Keep a changed memory."""
        self.eeprom = eeprom

    def close(self) -> None:
        """Nothing is held."""


class ChipFile(Memory):
    """A chip's memory in a file, held by this process until close()."""

    def __init__(self, path: str, new: "Eeprom | None" = None) -> None:
        """Open `path`; `new` makes it, and never over another.

        :raises KeyDriverError: there is none, there is one already, another process holds it, or
            its bytes are no chip's.
        """
        self.path = path
        # By a link it is the same chip: one lock, and a save that replaces what all names lead to.
        self._file = os.path.realpath(path)
        self._folder = os.path.dirname(self._file)
        self._lock = self._hold(new is not None)
        try:
            super().__init__(self._read() if new is None else self._made(new))
        except BaseException:
            self.close()
            raise

    def save(self, eeprom: Eeprom) -> None:
        """Replace the file; after a crash it is the old one or the new one, whole.

        :raises KeyDriverError: the disk refused; the file is the old one.
        """
        try:
            self._replace(encode(eeprom))
        except OSError as error:
            # A bus that fails says OSError too; this one must not look like a missing chip.
            message = f"{self.path}: the chip's memory could not be saved: {error.strerror}"
            raise KeyDriverError("chip-not-saved", message)
        self.eeprom = eeprom

    def _made(self, new: Eeprom) -> Eeprom:
        if os.path.lexists(self.path):
            message = f"{self.path} is there already; a chip is never replaced"
            raise KeyDriverError("exists", message)
        self.save(new)
        return new

    def _replace(self, data: bytes) -> None:
        descriptor, temporary = tempfile.mkstemp(prefix=".chip-", dir=self._folder)
        try:
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(data)
                opened.flush()
                os.fsync(opened.fileno())
            os.replace(temporary, self._file)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        """Let another process have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _hold(self, making: bool) -> "int | None":  # noqa: FBT001 - private
        if not making and not os.path.isfile(self.path):
            message = (
                f"{self.path}: there is no chip at this path (in a configuration it is relative to "
                "the configuration's folder); `tally chip new` makes one"
            )
            raise KeyDriverError("no-chip", message)
        # Beside the file, since saving replaces it. It stays: unlinking one that another process
        # waits for would give two holders.
        try:
            lock = os.open(self._file + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise KeyDriverError("no-chip", f"{self.path}.lock: {error.strerror}")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            message = (
                f"{self.path}: another process uses this chip, or another key of this one; "
                "end it, or share the chip by `tally chip serve`: its keys are then "
                "atecc608:tcp=HOST:PORT"
            )
            raise KeyDriverError("chip-in-use", message)
        return lock

    def _read(self) -> Eeprom:
        with open(self._file, "rb") as opened:
            data = opened.read(FILE_BYTES + 1)
        try:
            return parse(data)
        except TallyError as error:
            raise KeyDriverError("bad-chip-file", f"{self.path}: {error.message}")
