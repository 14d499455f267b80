# CPython only
"""Quota refusal: a validator says who sent too much, and until when (docs/protocol.md, 6.7)."""

# [39, batch, holder, key, quota, limit, used, time_ms, until_ms]; a signed statement whose `sub` is
# the id of the gateway whose batch was refused.

from typing import Any

from tallystick.evidence import _shape as shape
from tallystick.evidence import statement
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import QUOTA_REFUSAL
from tallystick.evidence.limits import CHECKPOINT_BYTES_MAX, REFUSAL_MS_MAX
from tallystick.evidence.statement import Signed

DEVICE, GATEWAY, FLEET = HOLDERS = ("device", "gateway", "fleet")
RECORDS, BYTES = QUOTAS = ("records_per_s", "bytes_per_day")


class QuotaRefusal(Signed):
    """As received; `key_id` is a device's or gateway's id, or the thumbprint of a fleet's root."""

    def __init__(
        self,
        batch: bytes,
        holder: str,
        key: bytes,
        quota: str,
        limit: int,
        used: int,
        time_ms: int,
        until_ms: int,
    ) -> None:
        what = "quota refusal"
        self.batch = shape.octets(batch, shape.HASH_SIZE, what)
        self.holder = shape.one_of(holder, HOLDERS, what)
        self.key_id = shape.octets(key, shape.ID_SIZE, what)
        self.quota = shape.one_of(quota, QUOTAS, what)
        self.limit = shape.uint(limit, what)
        self.used = shape.uint(used, what)
        self.time_ms = shape.uint(time_ms, what)
        self.until_ms = shape.uint(until_ms, what)
        # Nobody is told to be silent for ever, whatever a validator says.
        if not 0 < until_ms - time_ms <= REFUSAL_MS_MAX:
            raise Malformed("bad-value", "quota refusal: for no time, or for more than a day")

    @property
    def wait_ms(self) -> int:
        """For how long from now: by the validator's clock, whatever that of the gateway says."""
        return self.until_ms - self.time_ms

    def values(self) -> list[Any]:
        """The array of the CDDL, kind first."""
        return [
            QUOTA_REFUSAL,
            self.batch,
            self.holder,
            self.key_id,
            self.quota,
            self.limit,
            self.used,
            self.time_ms,
            self.until_ms,
        ]

    def verify(
        self, key: PublicKey, iss: str, gateway: bytes, batch: bytes
    ) -> "VerifiedQuotaRefusal":
        """Unverified unless the validator `iss` signed it for this gateway and this batch."""
        if self.iss != iss:
            raise Unverified("wrong-key", "the refusal is by another validator")
        if self.device != gateway:
            raise Unverified("wrong-device", "the refusal is for another gateway")
        if self.batch != batch:
            raise Unverified("replayed", "the refusal is of another batch")
        return self._verified(VerifiedQuotaRefusal, key)


class VerifiedQuotaRefusal(QuotaRefusal):
    """`key` signed it; made by verify() only."""

    key: PublicKey


def parse(data: bytes) -> QuotaRefusal:
    """As received; Malformed with a reason of section 1.7."""
    received = statement.parse(data, QUOTA_REFUSAL, CHECKPOINT_BYTES_MAX)
    statement.subject_device(received)
    refusal = QuotaRefusal(*shape.row(received.values, 8, "quota refusal"))
    refusal.statement = received
    return refusal
