# CPython only
"""Erasure: bodies that a validator gives up, while their hashes stay (docs/protocol.md, 6.6)."""

# [35, epoch, ranges, kinds, cause, validator, time_ms]; a signed statement whose `sub` is the
# device's id.  A fleet root asks for it (`request`); a validator says what it did (`retention`).

from typing import Any

from tallystick.evidence import _shape as shape
from tallystick.evidence import statement
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import ACCEPTED_HALF, ERASURE
from tallystick.evidence.limits import ERASURE_RANGES_MAX
from tallystick.evidence.statement import Signed

REQUEST, RETENTION = "request", "retention"
CAUSES = (REQUEST, RETENTION)
_WHAT = "erasure"


class Erasure(Signed):
    """As received: which records of one log of a device.

    ranges: [from, to) in ascending order, apart from each other; kinds: of records, 0 to 3, in
    ascending order; validator: the id of the one that is meant, or None for all.
    """

    def __init__(
        self,
        epoch: bytes,
        ranges: list[Any],
        kinds: list[int],
        cause: str,
        validator: bytes | None,
        time_ms: int,
    ) -> None:
        self.epoch = shape.octets(epoch, shape.EPOCH_SIZE, _WHAT)
        self.ranges = _ranges(ranges)
        self.kinds = shape.array(kinds, _WHAT, 1, ACCEPTED_HALF + 1)
        last = -1
        for kind in self.kinds:
            if shape.uint(kind, _WHAT, ACCEPTED_HALF) <= last:
                raise Malformed("bad-value", "erasure: kinds are in ascending order, each once")
            last = kind
        self.cause = shape.one_of(cause, CAUSES, _WHAT)
        self.validator = (
            None if validator is None else shape.octets(validator, shape.ID_SIZE, _WHAT)
        )
        if cause == RETENTION and validator is None:
            raise Malformed("bad-value", "erasure: whose retention it was is not said")
        self.time_ms = shape.uint(time_ms, _WHAT)

    def values(self) -> list[Any]:
        """The array of the CDDL, kind first."""
        return [
            ERASURE,
            self.epoch,
            self.ranges,
            self.kinds,
            self.cause,
            self.validator,
            self.time_ms,
        ]

    def covers(self, index: int, kind: int | None = None) -> bool:
        """Whether the record at an index is meant; without a kind, whether it may be."""
        if kind is not None and kind not in self.kinds:
            return False
        return any(first <= index < to for first, to in self.ranges)

    def verify(self, key: PublicKey) -> "VerifiedErasure":
        """Unverified unless `key` signed: the device's fleet root, or the validator's own."""
        return self._verified(VerifiedErasure, key)


class VerifiedErasure(Erasure):
    """`key` signed it; made by verify() only."""

    key: PublicKey


def _ranges(ranges: Any) -> list[list[int]]:
    found = []
    end = -1
    for item in shape.array(ranges, _WHAT, 1, ERASURE_RANGES_MAX):
        first, to = shape.row(item, 2, _WHAT)
        shape.uint(first, _WHAT)
        shape.uint(to, _WHAT)
        if not end < first < to:
            raise Malformed("bad-value", "erasure: ranges are not empty, ascending and apart")
        end = to
        found.append([first, to])
    return found


def parse(data: bytes) -> Erasure:
    """As received; Malformed with a reason of section 1.7."""
    received = statement.parse(data, ERASURE)
    statement.subject_device(received)
    made = Erasure(*shape.row(received.values, 6, _WHAT))
    made.statement = received
    return made
