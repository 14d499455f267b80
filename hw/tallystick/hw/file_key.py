"""Software keys in a file: `file:PATH`."""

# The file is deterministic CBOR, [FORMAT, alg, public key, secret, checksum].  The secret is 32
# bytes, or [salt, operations, memory, box] where a passphrase seals it (hw/_software.py).

import os
import sys

from tallystick.evidence import cbor
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import KeyDriverError, Malformed
from tallystick.evidence.keys import EDDSA, PublicKey, from_raw
from tallystick.hw.signer import Signer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tallystick.hw.signer import Secrets

FORMAT = "tallystick-key/1"
FILE_BYTES_MAX = 1024
SECRET_SIZE = 32
CHECKSUM_SIZE = 8
# Steps of pure-Python Ed25519 in one poll(): about 3 point operations each, 152 a signature.
STEPS_A_POLL = 4

_MICROPYTHON = sys.implementation.name == "micropython"


def _library() -> "Any":
    from tallystick.hw import _software  # noqa: PLC0415  # libraries that a device does not have

    return _software


class FileKey(Signer):
    """A private key in memory; neither repr nor errors show it."""

    custody = "software"

    def __init__(self, public: PublicKey, secret: bytes) -> None:
        self.alg = public.alg
        self.steps_a_poll = STEPS_A_POLL
        self._public = public
        # What signs: the secret itself on MicroPython, a loaded key elsewhere.
        self._secret: "Any" = secret
        if not _MICROPYTHON:
            self._secret = _library().signing(self.alg, secret)
        self._work: "Any" = None
        self._signature: bytes | None = None

    def __repr__(self) -> str:
        return "FileKey(%r)" % self._public

    def public_key(self) -> PublicKey:
        return self._public

    def begin(self, message: bytes) -> None:
        if self._work:
            raise KeyDriverError("busy", "the software key is still signing")
        self._signature = None
        self._work = self._signing(message)

    def _signing(self, message: bytes) -> "Any":
        if _MICROPYTHON:
            from tallystick.evidence import _ed25519  # noqa: PLC0415  # costs heap
            from tallystick.evidence.steps import Steps  # noqa: PLC0415  # costs heap

            return Steps(_ed25519.sign(self._secret, self._public.raw, message))
        return _AtOnce(self._secret, message)

    def poll(self) -> bool:
        if not self._work:
            if self._signature is None:
                raise KeyDriverError("not-signing", "the software key signs nothing: begin() first")
            return True
        for _ in range(self.steps_a_poll):
            if self._work.step():
                self._signature = self._work.result
                self._work = None
                return True
        return False

    def signature(self) -> bytes:
        signature = self._signature
        if signature is None:
            raise KeyDriverError("not-ready", "the software key has no signature ready")
        self._signature = None
        return signature


class _AtOnce:
    # Where a library signs in microseconds there is nothing to cut.

    def __init__(self, sign: "Callable[[bytes], bytes]", message: bytes) -> None:
        self._sign = sign
        self._message = message
        self.result = b""

    def step(self) -> bool:
        self.result = self._sign(self._message)
        return True


def open_signer(path: str, secrets: "Secrets | None" = None) -> FileKey:
    """The key of an existing file; `secrets` is asked for the passphrase of a sealed one."""
    alg, raw, kept = _parse(_read(path), path)
    if isinstance(kept, list):
        if _MICROPYTHON:
            raise KeyDriverError("sealed-key", path + ": a passphrase needs CPython")
        kept = _library().unseal(kept, _passphrase(secrets, path), path)
    if not _MICROPYTHON and _library().public_raw(alg, kept) != raw:
        # Signing with a public key that is not the secret's own would give the secret away.
        raise KeyDriverError("corrupt-key", path + ": the public key is not the secret's")
    try:
        return FileKey(from_raw(alg, raw), kept)
    except Malformed as error:
        raise KeyDriverError("corrupt-key", path + ": " + error.message)


def create(uri: str, alg: int = EDDSA, secrets: "Secrets | None" = None) -> FileKey:
    """Make a key and its file (mode 0600); sealed when `secrets` gives a passphrase."""
    if not uri.startswith("file:") or len(uri) == 5:
        raise KeyDriverError("bad-key-uri", "a file key's URI is file:PATH")
    path = uri[5:]
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


def _passphrase(secrets: "Secrets | None", path: str) -> str:
    passphrase = secrets(path) if secrets else None
    if not passphrase:
        raise KeyDriverError("no-passphrase", path + ": is sealed; its passphrase is needed")
    return passphrase


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
    except OSError:
        return False
    return True


def _read(path: str) -> bytes:
    try:
        # Whoever can read the file can sign; MicroPython's file systems know no modes.
        if not _MICROPYTHON and os.stat(path).st_mode & 0o077:
            raise KeyDriverError("open-key-file", path + ": others may read it; chmod 600 it")
        with open(path, "rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise KeyDriverError("no-key", "%s: cannot be read (%s)" % (path, error))
    if len(data) > FILE_BYTES_MAX:
        raise KeyDriverError("corrupt-key", path + ": is too long for a key file")
    return data


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
    except OSError as error:
        raise KeyDriverError("no-key", "%s: cannot be written (%s)" % (path, error))
