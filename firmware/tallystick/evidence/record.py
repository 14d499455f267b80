"""Records (docs/protocol.md, 2.1): decision, claim, event, accepted half."""

# An array whose first element is its kind, of less than 24 elements: so the kind is the second
# byte, and the first says how many elements that kind has.

from tallystick.evidence.errors import Malformed
from tallystick.evidence.kinds import CLAIM, DECISION, EVENT

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.evidence.accepted import AcceptedHalf
    from tallystick.evidence.claim import Claim
    from tallystick.evidence.decision import Decision
    from tallystick.evidence.event import Event

# First byte by kind.
_HEADS = b"\x87\x8c\x84\x83"


def kind_of(record: bytes) -> int:
    """The kind, from two bytes; the rest is not looked at."""
    if len(record) < 2:
        raise Malformed("truncated", "a record of less than two bytes")
    kind = record[1]
    if kind >= len(_HEADS) or record[0] != _HEADS[kind]:
        raise Malformed("unknown-kind", "the bytes do not begin like a record")
    return kind


def parse(record: bytes) -> "Decision | Claim | Event | AcceptedHalf":
    """Strict, by kind; Malformed with a reason of section 1.7."""
    # Imported when met: a device that only records decodes none of them.
    kind = kind_of(record)
    if kind == DECISION:
        from tallystick.evidence import decision  # noqa: PLC0415  # costs heap

        return decision.parse(record)
    if kind == CLAIM:
        from tallystick.evidence import claim  # noqa: PLC0415  # costs heap

        return claim.parse(record)
    if kind == EVENT:
        from tallystick.evidence import event  # noqa: PLC0415  # costs heap

        return event.parse(record)
    from tallystick.evidence import accepted  # noqa: PLC0415  # costs heap

    return accepted.parse(record)
