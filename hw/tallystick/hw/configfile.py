# CPython only
"""Settings that stand in the configurations of gateways and validators alike: keys and roots."""

import re
from collections.abc import Iterable
from pathlib import Path

from tallystick.evidence import root
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import PublicKey

_ROOT_LINE = re.compile(r"[a-z0-9.-]{1,20}\+[A-Za-z0-9_-]+")


def key_uri(uri: str, folder: Path, example: str) -> str:
    """A key's URI whose file, where it names one, is found from anywhere; Malformed for none.

    folder: the configuration's own; example: what the error shows.
    """
    scheme, colon, rest = uri.partition(":")
    if not colon:
        raise Malformed("bad-value", f"key: a URI such as {example}")
    if scheme == "file" and not rest.startswith("/"):
        return f"file:{folder / rest}"
    return uri


def roots(items: Iterable[str], folder: Path) -> dict[str, PublicKey]:
    """Fleet roots by name, from lines and from files of lines; Malformed, OSError."""
    found: dict[str, PublicKey] = {}
    for item in items:
        lines = [item] if _ROOT_LINE.fullmatch(item) else _lines(folder / item)
        for line in lines:
            name, key = root.parse_root(line)
            if found.setdefault(name, key) != key:
                raise Malformed("already-enrolled", f"roots: {name} stands there with two keys")
    if not found:
        raise Malformed("bad-value", "roots: at least one, or nobody's records can be verified")
    return found


def _lines(path: Path) -> list[str]:
    lines = (line.strip() for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]
