# What a device that joins keeps in files: who to ask and with which code, and what it has so far.

import json
import os

from tallystick.evidence.errors import Malformed, TallyError, TransportError
from tallystick.recorder.files import MICROPYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILE_BYTES_MAX = 16384
# Setting -> (type, default).
SETTINGS: "dict[str, tuple[type, Any]]" = {
    "url": (str, None),
    "code": (str, None),
    "key": (str, "file:key"),
    "journal": (str, "journal"),
    "ca": (str, None),
    "tls": (dict, {}),
    "details": (dict, {}),
}
# Refusals that another try may not meet.
PASSING = (408, 429)


def read_settings(path: str) -> "dict[str, Any]":
    """What NAME says, checked; Malformed names the file and never shows the code."""
    try:
        found = json.loads(read(path))
    except OSError as error:
        raise Malformed("bad-config", "%s: cannot be read (%s)" % (path, error))
    except ValueError:
        raise Malformed("bad-config", "%s: is no JSON" % path)
    return check_settings(found, path)


def check_settings(found: "Any", where: str) -> "dict[str, Any]":
    """All settings with their defaults; unknown ones are refused, for they are mistyped ones."""
    if type(found) is not dict:
        raise Malformed("bad-config", "%s: must be a JSON object" % where)
    for name in found:
        if name not in SETTINGS:
            known = " ".join(sorted(SETTINGS))
            raise Malformed("bad-config", "%s: no setting %r; known: %s" % (where, name, known))
    settings = {}
    for name, (kind, default) in SETTINGS.items():
        value = found.get(name)
        if value is None:
            if name in ("url", "code"):
                raise Malformed("bad-config", "%s: %s is missing" % (where, name))
            value = default
        elif type(value) is not kind:
            raise Malformed("bad-config", "%s: %s is of a wrong type" % (where, name))
        settings[name] = value
    return settings


def refusal(status: int, body: bytes) -> TallyError:
    """What to raise for an answer that is none; a TransportError where another try may help."""
    reason, title = "refused", "the gateway answered %d" % status
    try:
        said = json.loads(body)
        reason = str(said["reason"])[:32]
        title = _plain(str(said["title"])[:200])
    except (ValueError, KeyError, TypeError, IndexError):
        pass
    if status >= 500 or status in PASSING:
        return TransportError(_plain(reason), title)
    return TallyError(_plain(reason), title)


def _plain(text: str) -> str:
    # What a stranger wrote must not move anybody's cursor.
    return "".join([char if " " <= char <= "~" else "?" for char in text])


def keep(path: str, data: bytes) -> None:
    """A file, whole or not at all, and durable."""
    part = path + ".part"
    with open(part, "wb") as file:
        file.write(data)
        file.flush()
        if not MICROPYTHON:
            os.fsync(file.fileno())
    try:
        os.rename(part, path)
    except OSError:
        # FAT does not rename over a file.
        os.remove(path)
        os.rename(part, path)
    if hasattr(os, "sync"):
        os.sync()


def read(path: str) -> bytes:
    # The size first: MicroPython's read(n) takes n bytes of heap before it reads.
    if os.stat(path)[6] > FILE_BYTES_MAX:
        raise OSError(27, "too long")
    with open(path, "rb") as file:
        return file.read()


def exists(path: str) -> bool:
    try:
        os.stat(path)
    except OSError:
        return False
    return True
