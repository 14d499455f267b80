# A fleet's name: the `iss` of its statements (docs/protocol.md, 1.4).

from tallystick.evidence.errors import Malformed
from tallystick.evidence.limits import ISS_BYTES_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ISS_CHARS = "abcdefghijklmnopqrstuvwxyz0123456789.-"


def check_iss(iss: "Any") -> str:
    """The name, when it is 1 to 20 characters of a-z, 0-9, dot and hyphen."""
    if type(iss) is not str or not 1 <= len(iss) <= ISS_BYTES_MAX:
        raise Malformed("bad-header", "iss must be 1 to 20 characters")
    for char in iss:
        if char not in _ISS_CHARS:
            raise Malformed("bad-header", "iss must be of a-z 0-9 . -")
    return iss
