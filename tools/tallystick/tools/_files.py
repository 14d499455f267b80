"""Files that people name on the command line: bounded, and refused in one sentence."""

from pathlib import Path

from tallystick.evidence.errors import Malformed


def read_bytes(path: Path, bytes_max: int) -> bytes:
    """A file's bytes; Malformed names the file that is too large."""
    with path.open("rb") as opened:
        data = opened.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise Malformed("too-large", f"{path}: larger than {bytes_max:,} bytes")
    return data


def read_text(path: Path, bytes_max: int) -> str:
    """A file's text; Malformed names the file that is too large, or that is no text."""
    try:
        return read_bytes(path, bytes_max).decode()
    except UnicodeDecodeError:
        raise Malformed("bad-utf8", f"{path}: is no text") from None
