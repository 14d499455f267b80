# What the fields of an enrolment may be: part of enrolment.py, apart for who needs no objects.

from tallystick.evidence import _shape as shape
from tallystick.evidence import value
from tallystick.evidence.errors import Malformed
from tallystick.evidence.limits import CUSTODY_EVIDENCE_BYTES_MAX, CUSTODY_EVIDENCE_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def check_fields(
    subject: "Any",
    id: "Any",  # noqa: A002  # the name on the wire
    custody: "Any",
    evidence: "Any",
    details: "Any",
    releases: "Any",
    interval_s: "Any",
    validity: "Any",
    possession: "Any",
) -> None:
    """Malformed unless the fields beside the key are as the CDDL has them (section 5.1)."""
    what = "enrolment"
    shape.uint(subject, what, 2)
    shape.octets(id, 32, what)
    shape.uint(custody, what, 3)
    check_evidence(evidence)
    value.check_named(details)
    for release in shape.array(releases, what):
        value.check_name(shape.row(release, 2, what)[0])
        shape.octets(release[1], 32, what)
    shape.uint(interval_s, what)
    begin, end = shape.row(validity, 2, what)
    if shape.uint(begin, what) > shape.uint(end, what):
        raise Malformed("bad-value", "enrolment: its validity ends before it begins")
    shape.octets(possession, 64, what)


def check_evidence(evidence: "Any") -> "list[Any]":
    """Custody evidence: an array of [type, bytes]."""
    what = "custody evidence"
    for item in shape.array(evidence, what, 0, CUSTODY_EVIDENCE_MAX):
        value.check_name(shape.row(item, 2, what)[0])
        shape.blob(item[1], CUSTODY_EVIDENCE_BYTES_MAX, what)
    return evidence  # type: ignore[no-any-return]  # checked by array()
