# What a journal has only as hashes: which indexes those are, and what a full one gave up.  Loaded
# when there is such.

from tallystick.recorder.core import Log
from tallystick.recorder.frames import GIVEN, control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What a `gap` event calls the bodies that a full journal gave up, by kind.
KINDS = ("decisions", "claims", "events", "accepted")


def hollowed(log: Log, begin: int, end: int) -> None:
    """Records of these indexes have no body here any more."""
    hollow = log.hollow
    log.hollow = [min(hollow[0], begin), max(hollow[1], end)] if hollow else [begin, end]


def hollow_in(log: Log, size: int) -> bool:
    """Whether there may be such a record below `size` and not in custody yet."""
    hollow = log.hollow
    known = log.custody[0] if log.custody else 0
    return bool(hollow) and hollow[1] > known and hollow[0] < size


def mark_given(log: Log, number: int, level: int, first: int, to: int, *counts: int) -> bytes:
    """The frame that notes what a file gives up; no `gap` event tells it yet."""
    log.told = [number, level]
    hollowed(log, first, to)
    known = log.untold or [first, to, 0, 0, 0, 0]
    log.untold = [min(known[0], first), max(known[1], to)]
    log.untold += [known[2 + kind] + count for kind, count in enumerate(counts)]
    return control([GIVEN, number, level, first, to] + list(counts))


def mark_told(log: Log, details: "dict[str, Any]") -> None:
    """A `gap` event with these details is in the log."""
    if details["reason"] == "full":
        left = [log.untold[2 + kind] - details.get(name, 0) for kind, name in enumerate(KINDS)]
        log.untold = log.untold[:2] + left if max(left) > 0 else []
