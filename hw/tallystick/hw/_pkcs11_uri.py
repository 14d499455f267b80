# CPython only
"""PKCS#11 URIs (RFC 7512), the part that names one private key on one token."""

import re

from tallystick.evidence.errors import KeyDriverError

URI_CHARS_MAX = 1_024
# What may stand unescaped in a value (RFC 7512, section 2.3: pk11-path-res-avail and unreserved).
_PATH_VALUE = re.compile(r"(?:[A-Za-z0-9._~:\[\]@!$'()*+,=&-]|%[0-9A-Fa-f]{2})+")
_QUERY_VALUE = re.compile(r"(?:[A-Za-z0-9._~:\[\]@!$'()*+,=/?|-]|%[0-9A-Fa-f]{2})+")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")

TOKEN = ("token", "manufacturer", "serial", "model")
OBJECT = ("object", "id", "type")
QUERY = ("module-path", "pin-source")


class KeyUri:
    """What a URI says; each text None where it says nothing."""

    def __init__(self, path: dict[str, bytes], query: dict[str, bytes]) -> None:
        self.token = _text(path, "token")
        self.manufacturer = _text(path, "manufacturer")
        self.serial = _text(path, "serial")
        self.model = _text(path, "model")
        self.object = _text(path, "object")
        self.id = path.get("id")
        self.module = _text(query, "module-path")
        self.pin_file = _file(_text(query, "pin-source"))

    def where(self) -> str:
        """The token and the key, for messages."""
        token = [f"{name} {getattr(self, name)!r}" for name in TOKEN if getattr(self, name)]
        key = repr(self.object) if self.object is not None else f"id {(self.id or b'').hex()}"
        return f"{', '.join(token)}: key {key}"


def parse(rest: str) -> KeyUri:
    """What comes after `pkcs11:`; KeyDriverError says which attribute is wrong.

    Neither a value of the query nor an unknown attribute is repeated: it may be a PIN.
    """
    if len(rest) > URI_CHARS_MAX:
        raise _bad(f"is longer than {URI_CHARS_MAX} characters")
    path_part, question, query_part = rest.partition("?")
    path = _attributes(path_part, ";", _PATH_VALUE, TOKEN + OBJECT)
    query = _attributes(query_part, "&", _QUERY_VALUE, QUERY) if question else {}
    if path.pop("type", b"private") != b"private":
        raise _bad("type= is private: what signs is the private key")
    if not {"token", "serial"} & set(path):
        raise _bad("needs token=LABEL or serial=NUMBER")
    if not {"object", "id"} & set(path):
        raise _bad("needs object=LABEL or id=%XX..., the key on that token")
    found = KeyUri(path, query)
    if found.module is not None and not found.module.startswith("/"):
        raise _bad("module-path= is an absolute path, so that no other library is loaded")
    return found


def _bad(what: str) -> KeyDriverError:
    return KeyDriverError(
        "bad-key-uri",
        f"pkcs11: {what}; such as pkcs11:token=LABEL;object=LABEL"
        "?module-path=/PATH&pin-source=file:/PATH",
    )


def _attributes(
    text: str, between: str, value_of: "re.Pattern[str]", known: tuple[str, ...]
) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for item in text.split(between):
        name, _, value = item.partition("=")
        if name == "pin-value":
            raise _bad("pin-value= would put the PIN into configuration and logs; use pin-source=")
        if name not in known:
            # Only what looks like a name: a PIN that stands at the wrong place is not repeated.
            shown = f" {name}=" if name in _OTHERS else ""
            raise _bad(f"has an attribute{shown} that is not supported; use {', '.join(known)}")
        if name in found:
            raise _bad(f"has {name}= twice")
        if not value_of.fullmatch(value):
            raise _bad(f"{name}= is empty or has characters to be written %XX (a space is %20)")
        found[name] = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), value.encode())
    return found


# The other attributes of RFC 7512: known, and refused by name.
_OTHERS = (
    "library-description",
    "library-manufacturer",
    "library-version",
    "slot-description",
    "slot-id",
    "slot-manufacturer",
    "module-name",
    *TOKEN,
    *OBJECT,
    *QUERY,
)


def _text(values: dict[str, bytes], name: str) -> "str | None":
    if name not in values:
        return None
    try:
        text = values[name].decode()
    except UnicodeDecodeError:
        raise _bad(f"{name}= is no UTF-8 text") from None
    if not text.isprintable():
        raise _bad(f"{name}= has characters that cannot be printed")
    return text


def _file(source: "str | None") -> "str | None":
    if source is None:
        return None
    path = source[5:] if source.startswith("file:") else ""
    path = path[2:] if path.startswith("///") else path
    if not path.startswith("/") or path.startswith("//"):
        raise _bad("pin-source= is file: and an absolute path; commands are not run")
    return path
