# CPython only
"""The firmware digest (docs/protocol.md, 2.1) of what runs here: the library, and the program."""

import sys
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

# What records and signs; the other rooms do not run on a robot.
PACKAGES = ("evidence", "hw", "recorder")
PROGRAM_BYTES_MAX = 1 << 20
# A process runs what it loaded, so this is found once.
_known: "dict[str, str]" = {}


def measure() -> "bytes | None":
    """The digest; None where the files cannot be read."""
    try:
        if not _known:
            _known["tallystick"] = library_digest()
            _known.update(_program())
    except OSError:
        return None
    return digest_of(_known)


def digest_of(files: "dict[str, str]") -> bytes:
    """SHA-256 of the lines that sha256sum writes for these, name to digest in hexadecimal."""
    lines = [f"{files[name]}  {name}\n" for name in sorted(files, key=str.encode)]
    return sha256("".join(lines).encode()).digest()


def library_digest() -> str:
    """The library's, in hexadecimal: of its files' lines, by path below the folder tallystick."""
    lines = {}
    for package in PACKAGES:
        spec = find_spec(f"tallystick.{package}")
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for path in Path(folder).rglob("*.py"):
                name = f"{package}/{path.relative_to(folder).as_posix()}"
                lines[name] = sha256(path.read_bytes()).hexdigest()
    return digest_of(lines).hex()


def _program() -> "dict[str, str]":
    # An installed command lies where the interpreter does: its code is the packages', and its first
    # line names this machine's folders.
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if not file:
        return {}
    path = Path(file)
    if path.parent == Path(sys.executable).parent or not path.is_file():
        return {}
    if path.stat().st_size > PROGRAM_BYTES_MAX:
        return {}
    return {path.name: sha256(path.read_bytes()).hexdigest()}
