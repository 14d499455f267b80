"""SHA-256 (FIPS 180-4), the only hash of the format."""

from hashlib import sha256 as _sha256

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import _Hash as Hash

SHA256_SIZE = 32


def sha256(data: bytes) -> bytes:
    """32 bytes."""
    return _sha256(data).digest()


def begun(prefix: bytes) -> "Callable[[], Hash]":
    """A function that gives a new hash state begun with `prefix`."""
    # Copying a state is faster than making one; MicroPython's cannot be copied.
    state = _sha256(prefix)
    if hasattr(state, "copy"):
        return state.copy
    return lambda: _sha256(prefix)
