"""Second phase: the half's checkpoint, and that the record lies under it (see halfclaim.py)."""

from tallystick.evidence import _shape as shape
from tallystick.evidence._fields import checkpoint_fields
from tallystick.evidence._inclusion import root_from_inclusion
from tallystick.evidence._reading import Read
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Unverified
from tallystick.evidence.kinds import CHECKPOINT
from tallystick.evidence.limits import CHECKPOINT_BYTES_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.evidence._reading import Parts


def read_head(
    data: bytes, makers: list[bytes], record: bytes, salt: bytes, index: int, path: list[bytes]
) -> "tuple[Parts, bytes]":
    """(the checkpoint's parts, not verified; the record's leaf)."""
    head = Read(data, CHECKPOINT, CHECKPOINT_BYTES_MAX)
    epoch, size, root, claims, boot, uptime_ms, wall, counter, custody = shape.row(
        head.values, 9, "checkpoint"
    )
    checkpoint_fields(epoch, size, root, claims, boot, uptime_ms, wall, counter, custody)
    if head.device not in makers:
        raise Unverified("not-a-party", "the maker is not in its claim's own party map")
    if index >= size:
        raise Unverified("bad-half", "a half whose checkpoint does not cover its record")
    leaf = sha256(b"\x00" + salt + record)
    if root_from_inclusion(leaf, index, size, path) != root:
        raise Unverified("bad-inclusion-proof", "a half whose record is not under its checkpoint")
    return head.parts(), leaf
