"""How much a key may send: records a second and bytes a day, counted in the store (protocol, 6.7).

A device pays for what its own key signed and what is new here; a gateway, and its fleet, for every
batch that it signed and that brings something new. So nobody uses up another's quota.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from tallystick.evidence.limits import REFUSAL_MS_MAX
from tallystick.evidence.quotarefusal import BYTES, RECORDS, QuotaRefusal
from tallystick.validator import schema
from tallystick.validator.limits import QUOTA_MAX
from tallystick.validator.quotaconfig import Quota
from tallystick.validator.rows import Among, Prepared
from tallystick.validator.work import Work

DAY_MS = 86_400_000
_MILLI = 1000  # records are counted in thousandths: a rate of 1 a second fills by the millisecond
# A segment is [13, device, ...] (protocol, 3.2), and one encoding is right, so its device stands
# at one place: the quota is looked at before anything of the segment is parsed.
_SEGMENT = b"\x86\x0d\x58\x20"


_TABLE = schema.quota_use
_USED = Prepared(
    sa.update(_TABLE)
    .where(_TABLE.c.holder == sa.bindparam("holder_"), _TABLE.c.key == sa.bindparam("key_"))
    .values({name: sa.bindparam(name) for name in ("left", "at_ms", "bytes")})
)

_USES = Among(_TABLE.c.key.type, lambda keys: sa.select(_TABLE).where(_TABLE.c.key.in_(keys)))

Holder = tuple[str, bytes]  # whose quota (quotarefusal.HOLDERS), and the key that it is counted by


def device_of(segment: bytes) -> bytes | None:
    """The id that a segment names, unverified; None where it is none."""
    return segment[4:36] if segment[:4] == _SEGMENT and len(segment) >= 36 else None


@dataclass(frozen=True)
class Over:
    """A quota that is used up, until when, by this validator's log time."""

    holder: str
    key: bytes
    quota: str
    limit: int
    used: int
    until_ms: int

    def refusal(self, batch: bytes, time_ms: int) -> QuotaRefusal:
        """What is signed."""
        return QuotaRefusal(
            batch, self.holder, self.key, self.quota, self.limit, self.used, time_ms, self.until_ms
        )


@dataclass
class _Use:
    """A key's counters at `at_ms`: thousandths of records left, bytes of the UTC day."""

    left: int
    at_ms: int
    bytes: int

    def at(self, quota: Quota, now_ms: int) -> "_Use":
        if now_ms <= self.at_ms:
            return self  # a clock that was set back fills nothing
        filled = self.left + (now_ms - self.at_ms) * quota.records_per_s
        most = quota.records_per_s * quota.burst_s * _MILLI
        same_day = now_ms // DAY_MS == self.at_ms // DAY_MS
        return _Use(min(most, filled), now_ms, self.bytes if same_day else 0)


class Quotas:
    """Looks at quotas and charges them; nothing is kept in memory, so a rollback undoes all."""

    def __init__(self, quotas: Mapping[str, Quota]) -> None:
        self.quotas = dict(quotas)

    def over(self, work: Work, holders: Iterable[Holder]) -> list[Over]:
        """Those of these whose quota is used up now."""
        now_ms = work.group.time_ms
        found = []
        for (holder, key), use in self._uses(work, holders).items():
            quota = self.quotas[holder]
            now = use.at(quota, now_ms)
            if now.bytes >= quota.bytes_per_day:
                until_ms = (now_ms // DAY_MS + 1) * DAY_MS
                found.append(Over(holder, key, BYTES, quota.bytes_per_day, now.bytes, until_ms))
            elif now.left <= 0:
                wait_ms = min(REFUSAL_MS_MAX, -now.left // quota.records_per_s + 1)
                owed = -now.left // _MILLI
                until_ms = now_ms + wait_ms
                found.append(Over(holder, key, RECORDS, quota.records_per_s, owed, until_ms))
        return found

    def charge(self, work: Work, charges: Mapping[Holder, tuple[int, int]]) -> None:
        """Count records and bytes of each."""
        uses = self._uses(work, charges)
        for (holder, key), (records, size) in charges.items():
            quota = self.quotas[holder]
            known = uses.get((holder, key))
            full = _Use(quota.records_per_s * quota.burst_s * _MILLI, work.group.time_ms, 0)
            use = full if known is None else known.at(quota, work.group.time_ms)
            values = {
                "left": max(-QUOTA_MAX * _MILLI, use.left - records * _MILLI),
                "at_ms": use.at_ms,
                "bytes": min(QUOTA_MAX, use.bytes + size),
            }
            if known is None:
                work.insert(schema.quota_use, holder=holder, key=key, **values)
            else:
                work.update(_USED, holder_=holder, key_=key, **values)

    @staticmethod
    def _uses(work: Work, holders: Iterable[Holder]) -> dict[Holder, _Use]:
        wanted = dict.fromkeys(holders)
        return {
            (row.holder, row.key): _Use(row.left, row.at_ms, row.bytes)
            for row in _USES.found(work.connection, [key for _, key in wanted])
            if (row.holder, row.key) in wanted
        }
