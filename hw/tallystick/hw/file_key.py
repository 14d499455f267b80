"""Software keys in a file: `file:PATH`."""

# The file is deterministic CBOR, [FORMAT, alg, public key, secret, checksum].  The secret is 32
# bytes, or [salt, operations, memory, box] where a passphrase seals it (hw/_software.py).

import os
import sys

from tallystick.evidence import cbor
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import KeyDriverError, Malformed
from tallystick.evidence.keys import EDDSA, from_raw
from tallystick.hw.software_key import FileKey
from tallystick.hw.software_key import library as _library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.hw.signer import Secrets

FORMAT = "tallystick-key/1"
FILE_BYTES_MAX = 1024
SECRET_SIZE = 32
CHECKSUM_SIZE = 8

_MICROPYTHON = sys.implementation.name == "micropython"


def open_signer(path: str, secrets: "Secrets | None" = None) -> FileKey:
    """The key of an existing file; `secrets` is asked for the passphrase of a sealed one."""
    alg, raw, kept = _parse(_read(path), path)
    if isinstance(kept, list):
        if _MICROPYTHON:
            raise KeyDriverError("sealed-key", path + ": a passphrase needs CPython")
        library = _library()
        kept = library.unseal(kept, library.passphrase(secrets, path), path)
    if not _MICROPYTHON and _library().public_raw(alg, kept) != raw:
        # Signing with a public key that is not the secret's own would give the secret away.
        raise KeyDriverError("corrupt-key", path + ": the public key is not the secret's")
    try:
        return FileKey(from_raw(alg, raw), kept)
    except Malformed as error:
        raise KeyDriverError("corrupt-key", path + ": " + error.message)


def create_signer(path: str, alg: "int | None" = None, secrets: "Secrets | None" = None) -> FileKey:
    """Make a key and its file (mode 0600); sealed when `secrets` gives a passphrase."""
    alg = EDDSA if alg is None else alg
    if _exists(path):
        raise KeyDriverError("key-exists", path + ": exists; a key is never overwritten")
    passphrase = secrets(path) if secrets else None
    if not _MICROPYTHON:
        library = _library()
        secret = library.new_secret(alg)
        raw = library.public_raw(alg, secret)
        kept = library.seal(secret, passphrase) if passphrase else secret
    else:
        if alg != EDDSA or passphrase:
            raise KeyDriverError("no-such-key", "MicroPython has unsealed Ed25519 keys only")
        from tallystick.evidence._ed25519 import public_key  # noqa: PLC0415  # costs heap
        from tallystick.evidence.steps import finish  # noqa: PLC0415  # costs heap

        kept = secret = os.urandom(SECRET_SIZE)
        raw = finish(public_key(secret))
    fields = [FORMAT, alg, raw, kept]
    _write(path, cbor.encode(fields + [_checksum(fields)]))  # noqa: RUF005  # not on MicroPython
    return FileKey(from_raw(alg, raw), secret)


def _checksum(fields: "list[Any]") -> bytes:
    return sha256(cbor.encode(fields))[:CHECKSUM_SIZE]


def _parse(data: bytes, path: str) -> "tuple[int, bytes, Any]":
    wrong = KeyDriverError("corrupt-key", path + ": is no key file, or damaged")
    try:
        fields = cbor.decode(data)
    except Malformed:
        raise wrong
    if type(fields) is not list or len(fields) != 5 or fields[0] != FORMAT:
        raise wrong
    if fields[4] != _checksum(fields[:4]):
        raise wrong
    _, alg, raw, kept, _ = fields
    if (type(kept) is bytes and len(kept) != SECRET_SIZE) or type(kept) not in (bytes, list):
        raise wrong
    if alg != EDDSA and _MICROPYTHON:
        raise KeyDriverError("no-such-key", path + ": a software P-256 key needs CPython")
    return alg, raw, kept


def _exists(path: str) -> bool:
    try:
        os.stat(path)
    except (OSError, ValueError):  # a name that no file can have
        return False
    return True


def _read(path: str) -> bytes:
    try:
        # Whoever can read the file can sign; MicroPython's file systems know no modes.
        if not _MICROPYTHON and os.stat(path).st_mode & 0o077:
            raise KeyDriverError("open-key-file", path + ": others may read it; chmod 600 it")
        with open(path, "rb") as file:
            return file.read(FILE_BYTES_MAX)  # what is longer does not end there, so is damaged
    except (OSError, ValueError) as error:
        raise KeyDriverError("no-key", "%s: cannot be read (%s)" % (path, error))


def _write(path: str, data: bytes) -> None:
    # Whole under another name, then renamed: a power cut leaves a key file or none.
    part = path + ".part"
    try:
        if _MICROPYTHON:
            with open(part, "wb") as file:
                file.write(data)
            os.rename(part, path)
        else:
            _library().write_private(part, path, data)
    except (OSError, ValueError) as error:
        raise KeyDriverError("no-key", "%s: cannot be written (%s)" % (path, error))
