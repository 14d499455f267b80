# What the fields of a checkpoint may be: part of checkpoint.py, apart for who needs no objects.

from tallystick.evidence import _shape as shape
from tallystick.evidence.errors import Malformed

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def check_fields(
    epoch: "Any",
    size: "Any",
    root: "Any",
    claims: "Any",
    boot: "Any",
    uptime_ms: "Any",
    wall: "Any",
    counter: "Any",
    custody: "Any",
) -> None:
    """Malformed unless the fields after the kind are as the CDDL has them (section 3.1)."""
    what = "checkpoint"
    shape.octets(epoch, 8, what)
    shape.octets(root, 32, what)
    for field in (size, claims, boot, uptime_ms):
        shape.uint(field, what)
    # Every epoch begins with its `epoch` event, which is no claim.
    if claims >= size:
        raise Malformed("bad-value", "checkpoint: size must be above 0 and above claims")
    if wall is not None:
        for field in shape.row(wall, 2, what):
            shape.uint(field, what)
    if counter is not None:
        shape.uint(counter, what)
    if custody is not None:
        shape.octets(custody, 32, what)
