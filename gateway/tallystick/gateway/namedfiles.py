"""Files that a configuration names and that are read once: certificates, keys, a password.

Their content may be new where their names are not, so on SIGHUP they are looked at again
(reloading.py). What is in force is what was read, whatever lies there since.
"""

import hashlib
import ssl
from collections.abc import Iterable
from pathlib import Path

from tallystick.evidence.errors import Malformed
from tallystick.gateway import checkfiles
from tallystick.gateway.config import Config
from tallystick.gateway.validatorconfig import Tls

BROKER, PAGE, JOIN = "broker.files", "page.files", "join.files"


def of_validator(name: str) -> str:
    """What this part of a configuration is called here."""
    return f"validators.{name}.files"


def contents(config: Config) -> dict[str, bytes]:
    """A digest of the files of each part; a file that cannot be read counts as empty."""
    return {part: _digest(paths) for part, paths in _paths(config).items()}


def check(config: Config, parts: set[str], now_s: int) -> None:
    """TallyError for the first file of these parts that cannot be used, by the setting's name."""
    broker, page, join = config.broker, config.page, config.join
    try:
        if BROKER in parts:
            if broker.password_file is not None:
                checkfiles.private(broker.password_file)
            if broker.ca is not None:
                checkfiles.valid("broker.ca", broker.ca, now_s)
            _pair("broker", broker.cert, broker.key, now_s)
        if PAGE in parts and page is not None:
            _pair("page", page.cert, page.key, now_s)
        if JOIN in parts and join is not None:
            _pair("join", join.cert, join.key, now_s)
        for one in config.validators:
            if of_validator(one.name) in parts and one.tls is not None:
                _tls(one.name, one.tls)
    except OSError as error:
        raise Malformed("bad-value", f"{error.filename}: {error.strerror}") from error


def _pair(table: str, cert: Path | None, key: Path | None, now_s: int) -> None:
    if cert is not None and key is not None:
        checkfiles.pair(table, cert, key, now_s)


def _tls(name: str, tls: Tls) -> None:
    try:
        tls.context()
    except (ssl.SSLError, ValueError) as error:
        raise Malformed("bad-value", f"validators.{name}.cert: {error}") from None


def _paths(config: Config) -> dict[str, list[Path | None]]:
    broker, page, join = config.broker, config.page, config.join
    found = {
        BROKER: [broker.ca, broker.cert, broker.key, broker.password_file],
        PAGE: [] if page is None else [page.cert, page.key],
        JOIN: [] if join is None else [join.cert, join.key],
    }
    for one in config.validators:
        if one.tls is not None:
            found[of_validator(one.name)] = [one.tls.ca, one.tls.cert, one.tls.key]
    return found


def _digest(paths: Iterable[Path | None]) -> bytes:
    # Of a few files of a few KiB. Nothing of a key but this is kept.
    found = hashlib.sha256()
    for path in paths:
        data = b"" if path is None else _read(path)
        found.update(len(data).to_bytes(8, "big") + data)
    return found.digest()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(checkfiles.FILE_BYTES_MAX)
    except OSError:
        return b""
