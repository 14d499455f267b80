"""Third phase: the maker's enrolment as received (see halfclaim.py)."""

from tallystick.evidence import _shape as shape
from tallystick.evidence._fields import enrolment_fields
from tallystick.evidence._reading import Read
from tallystick.evidence.kinds import ENROLMENT
from tallystick.evidence.limits import STATEMENT_BYTES_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.evidence._reading import Parts


def read_enrolment(data: bytes) -> "Parts":
    """Its parts, nothing verified; the key in it is not even looked at."""
    read = Read(data, ENROLMENT, STATEMENT_BYTES_MAX)
    fields = shape.row(read.values, 10, "enrolment")
    enrolment_fields(*(fields[:2] + fields[3:]))
    return read.parts()
