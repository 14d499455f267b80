# What wire objects share: an encoding that is kept, and equality by it.

from tallystick.evidence.cbor import encode

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Wire:
    # Objects are never changed after they are made, so the encoding is kept: what was parsed is
    # not encoded again.
    _data: bytes | None = None

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        raise TypeError("a wire object without values()")

    def encode(self) -> bytes:
        """The one encoding."""
        if self._data is None:
            self._data = encode(self.values())
        return self._data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wire) and self.encode() == other.encode()

    def __hash__(self) -> int:
        return hash(self.encode())
