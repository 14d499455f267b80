# What the fields of a half, a checkpoint and an enrolment may be: parts of half.py, checkpoint.py
# and enrolment.py, apart for who needs no objects.

from tallystick.evidence import _shape as shape
from tallystick.evidence import value
from tallystick.evidence.errors import Malformed
from tallystick.evidence.limits import (
    CHECKPOINT_BYTES_MAX,
    CUSTODY_EVIDENCE_BYTES_MAX,
    CUSTODY_EVIDENCE_MAX,
    HALF_BYTES_MAX,
    PATH_HASHES_MAX,
)

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def half_fields(
    record: "Any", salt: "Any", index: "Any", path: "Any", checkpoint: "Any", credential: "Any"
) -> None:
    """Malformed unless the fields after the kind are as the CDDL has them (section 4.2)."""
    what = "half"
    shape.blob(record, HALF_BYTES_MAX, what)
    shape.octets(salt, 16, what)
    shape.uint(index, what)
    shape.hashes(path, PATH_HASHES_MAX, what)
    shape.blob(checkpoint, CHECKPOINT_BYTES_MAX, what)
    if isinstance(credential, bytes):
        shape.octets(credential, 32, what)
    else:
        shape.statements(credential, what)


def checkpoint_fields(
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


def enrolment_fields(
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
