# CPython only
"""Segment request: a gateway asks a validator for what it lost (docs/protocol.md, 8.8)."""

# [42, validator, gateway, epoch, from, to, time_ms]; a statement by the gateway; `sub` is the
# device.

from typing import Any

from tallystick.evidence import _shape as shape
from tallystick.evidence import statement
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import SEGMENT_REQUEST
from tallystick.evidence.limits import CHECKPOINT_BYTES_MAX, REQUEST_AGE_MS_MAX
from tallystick.evidence.statement import Signed

WHAT = "segment request"


class SegmentRequest(Signed):
    """validator: thumbprint of its key, gateway: id of who asks; from_ to `to`, not included."""

    def __init__(
        self, validator: bytes, gateway: bytes, epoch: bytes, from_: int, to: int, time_ms: int
    ) -> None:
        self.validator = shape.octets(validator, shape.HASH_SIZE, WHAT)
        self.gateway = shape.octets(gateway, shape.HASH_SIZE, WHAT)
        self.epoch = shape.octets(epoch, 8, WHAT)
        self.from_ = shape.uint(from_, WHAT)
        self.to = shape.uint(to, WHAT)
        self.time_ms = shape.uint(time_ms, WHAT)
        if from_ > to:
            raise Malformed("bad-value", WHAT + ": its range ends before it begins")

    def values(self) -> list[Any]:
        """The array of the CDDL, kind first."""
        return [
            SEGMENT_REQUEST,
            self.validator,
            self.gateway,
            self.epoch,
            self.from_,
            self.to,
            self.time_ms,
        ]

    def verify(self, key: PublicKey, validator: bytes, now_ms: int) -> "VerifiedSegmentRequest":
        """Unverified unless this key signed it, for this validator, about now."""
        if self.validator != validator:
            raise Unverified("wrong-device", "the request is for another validator")
        verified = self._verified(VerifiedSegmentRequest, key)
        # After the signature: only who signed it learns that it would be known here.
        if abs(self.time_ms - now_ms) > REQUEST_AGE_MS_MAX:
            raise Unverified("expired", "the request is not of now: compare the two clocks")
        return verified


class VerifiedSegmentRequest(SegmentRequest):
    """`key` signed it; made by verify() only."""

    key: PublicKey


def parse(data: bytes) -> SegmentRequest:
    """As received; Malformed with a reason of section 1.7."""
    received = statement.parse(data, SEGMENT_REQUEST, CHECKPOINT_BYTES_MAX)
    statement.subject_device(received)
    request = SegmentRequest(*shape.row(received.values, 6, WHAT))
    request.statement = received
    return request
