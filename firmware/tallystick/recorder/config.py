# The device's configuration: one JSON file, strict.  Paths in it are relative to its folder.

import hashlib
import json
import os
import sys

from tallystick.evidence.errors import Malformed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MICROPYTHON = sys.implementation.name == "micropython"
FILE_BYTES_MAX = 65536
ENVIRONMENT = "TALLYSTICK_CONFIG"
NAME = "tallystick.json"
MS_PER_S = 1000
SECONDS_MAX = 31536000
RECORDS_MAX = 1024
BYTES_MIN = 16384
# Records that wait in memory to be written.
BUFFER_BYTES = 2048 if MICROPYTHON else 1048576
BUFFER_BYTES_MIN = 256

# Name -> (types, default; REQUIRED where there is none).
REQUIRED = object()
_NUMBER = (int, float)
KEYS: "dict[str, tuple[Any, Any]]" = {
    "fleet": (str, REQUIRED),
    "key": (str, REQUIRED),
    "journal": (str, REQUIRED),
    "credential": (str, None),
    "roots": (list, []),
    "gateways": (list, []),
    "profiles": (str, None),
    "namespace": (str, "default"),
    "uplink": (str, None),
    "prefix": (str, "tallystick/1"),
    "tls": (dict, None),
    "uplink_bytes_s": (int, None),
    "checkpoint_records": (int, 64),
    "checkpoint_s": (_NUMBER, 5),
    "interval_s": (_NUMBER, 60),
    "resend_s": (_NUMBER, 30),
    "wait_s": (_NUMBER, 10),
    "clock_uncertainty_ms": (int, 1000),
    "journal_bytes": (int, None),
    "full": (str, "drop"),
    "buffer_bytes": (int, BUFFER_BYTES),
    "release": (str, "custody"),
    "firmware": (str, None),
    "monitor": (str, None),
}
PATHS = ("journal", "credential", "profiles")
# Keys whose URI goes on with a path.
FILES = ("file:", "atecc608:virtual=")
# Least and most of each number.
_RANGES = {
    "checkpoint_records": (1, RECORDS_MAX),
    "checkpoint_s": (0.001, SECONDS_MAX),
    "interval_s": (0.1, SECONDS_MAX),
    "resend_s": (0.1, SECONDS_MAX),
    "wait_s": (0.01, SECONDS_MAX),
    "clock_uncertainty_ms": (0, 86400000),
    "journal_bytes": (BYTES_MIN, 1 << 40),
    "uplink_bytes_s": (100, 1 << 30),
    "buffer_bytes": (BUFFER_BYTES_MIN, 1 << 26),
}


def _wrong(where: str, what: str) -> Malformed:
    return Malformed("bad-config", "%s: %s" % (where, what))


def load(source: "str | dict[str, Any] | None") -> "dict[str, Any]":
    """A checked configuration from a path, a dict, or the usual places; Malformed says what.

    {"off": why} where the environment or the configuration says that nothing is to be recorded.
    """
    if not MICROPYTHON and os.environ.get("TALLY"):  # a board has no environment
        if os.environ["TALLY"] != "off":
            raise _wrong("TALLY", "is off, or not set")
        return {"off": "TALLY=off"}
    if type(source) is dict:
        return check(source, "the configuration", "")
    path = str(source) if source is not None else _find()
    folder = path[: path.rfind("/") + 1]
    return check(_read(path), path, folder)


def _find() -> str:
    given = os.getenv(ENVIRONMENT) if hasattr(os, "getenv") else None  # a board has none
    if given:
        return given
    places = [NAME, "/" + NAME]
    if not MICROPYTHON:
        places.append(os.path.expanduser("~/.config/tallystick/" + NAME))
    for path in places:
        try:
            os.stat(path)
        except OSError:
            continue
        return path
    raise _wrong(
        NAME,
        "not found; set %s or put the file that `tally fleet enroll` wrote into this folder"
        % ENVIRONMENT,
    )


def _read(path: str) -> "Any":
    try:
        # The size first: MicroPython's read(n) takes n bytes of heap before it reads.
        if os.stat(path)[6] > FILE_BYTES_MAX:
            raise _wrong(path, "is longer than %d bytes" % FILE_BYTES_MAX)
        with open(path) as file:
            text = file.read()
    except OSError as error:
        raise _wrong(path, "cannot be read (%s)" % error)
    try:
        return json.loads(text)
    except ValueError as error:
        raise _wrong(path, "is no JSON (%s)" % error)


def check(given: "Any", where: str, folder: str) -> "dict[str, Any]":
    """All keys with their defaults; unknown ones are refused, for they are mistyped ones."""
    if type(given) is not dict:
        raise _wrong(where, "must be a JSON object")
    if given.get("off") is True:
        return {"off": where}
    for name in given:
        # `off` stands apart from KEYS, of which the log has a digest.
        if name not in KEYS and (name != "off" or given[name] is not False):
            raise _wrong(
                where, "there is no setting %r; known: %s" % (name, " ".join(sorted(KEYS)))
            )
    config = {}
    for name, (kinds, default) in KEYS.items():
        value = given.get(name)
        if value is None:
            if default is REQUIRED:
                raise _wrong(where, "%s is missing" % name)
            config[name] = default
            continue
        if not isinstance(value, kinds) or type(value) is bool:
            raise _wrong(where, "%s is of a wrong type" % name)
        least, most = _RANGES.get(name, (None, None))
        if least is not None and not least <= value <= most:
            raise _wrong(where, "%s must be %s to %s" % (name, least, most))
        config[name] = value
    _check_texts(config, where)
    # As the file says it: from where it was opened makes no other settings.
    config["digest"] = digest(config)
    for name in PATHS:
        config[name] = _beside(folder, config[name])
    for scheme in FILES:
        if config["key"].startswith(scheme):
            config["key"] = scheme + str(_beside(folder, config["key"][len(scheme) :]))
    if config["tls"] is not None:
        config["tls"] = {name: _beside(folder, path) for name, path in config["tls"].items()}
    return config


def _beside(folder: str, path: "str | None") -> "str | None":
    return path if path is None or path.startswith("/") else folder + path


def _check_texts(config: "dict[str, Any]", where: str) -> None:
    uplink = config["uplink"]
    if uplink is not None:
        if uplink.startswith("serial:"):
            from tallystick.recorder.serial_uri import parse_serial  # noqa: PLC0415  # rarely

            parse_serial(uplink)
        else:
            parse_uplink(uplink)
        if config["credential"] is None:
            raise _wrong(where, "an uplink needs the credential that `tally fleet enroll` writes")
    if config["full"] not in ("drop", "refuse"):
        raise _wrong(where, 'full must be "drop" or "refuse"')
    if config["release"] != "custody":
        raise _wrong(where, 'release must be "custody"')
    if config["monitor"] not in (None, "terminal"):
        raise _wrong(where, 'monitor must be "terminal"')
    if config["monitor"] and str(uplink).startswith("serial:stdio"):
        raise _wrong(where, "the uplink has the terminal already, so monitor cannot")
    if config["firmware"] is not None and not _is_hash(config["firmware"]):
        raise _wrong(where, "firmware must be 64 hexadecimal digits, a SHA-256")
    _check_tls(config["tls"], uplink, where)
    for gateway in config["gateways"]:
        if type(gateway) is not dict or sorted(gateway) != ["id", "key"]:
            raise _wrong(where, 'a gateway is {"id": ..., "key": ...}')


def _check_tls(tls: "dict[str, str] | None", uplink: "str | None", where: str) -> None:
    if tls is not None:
        if sorted(tls) not in (["ca"], ["ca", "cert", "key"]):
            raise _wrong(where, "tls has ca, or ca, cert and key")
        if uplink is None or not uplink.startswith("mqtts:"):
            raise _wrong(where, "tls is for an uplink mqtts://host:port")
    elif uplink is not None and uplink.startswith("mqtts:"):
        raise _wrong(where, "an uplink mqtts:// needs tls with at least ca")


def _is_hash(text: str) -> bool:
    for char in text:
        if char not in "0123456789abcdef":
            return False
    return len(text) == 64


def parse_uplink(url: str) -> "tuple[str, str, int]":
    """(scheme, host, port) of mqtt://host[:port] or mqtts://host[:port]."""
    wrong = Malformed("bad-config", "uplink must be mqtt[s]://host[:port] or serial:...")
    scheme, _, rest = url.partition("://")
    if scheme not in ("mqtt", "mqtts") or not rest or "@" in rest:
        raise wrong
    host, colon, port = rest.rpartition(":")
    if not colon:
        return scheme, rest, 8883 if scheme == "mqtts" else 1883
    for char in port:
        if not "0" <= char <= "9":
            raise wrong
    if not host or not port or not 0 < int(port) < 65536:
        raise wrong
    return scheme, host.strip("[]"), int(port)


def digest(config: "dict[str, Any]") -> bytes:
    """What a `boot` event says of it."""
    # Line by line, as a small heap has it; the order is that of the names.
    found = hashlib.sha256()
    between = b""
    for name in sorted(KEYS):
        value = config[name]
        # Seconds may be floats, whose repr is not the same on every board.
        text = "%.3f" % value if type(value) is float else value
        found.update(between + ("%s=%s" % (name, text)).encode())
        between = b"\n"
    return found.digest()
