"""The quotas of a configuration: `[quotas.device]`, `[quotas.gateway]`, `[quotas.fleet]`."""

from collections.abc import Mapping
from dataclasses import dataclass

from tallystick.evidence.errors import Malformed
from tallystick.evidence.quotarefusal import HOLDERS
from tallystick.validator.limits import QUOTA_BURST_S_MAX, QUOTA_MAX, QUOTAS

Tables = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Quota:
    """What one key may send; the bucket of records holds `burst_s` seconds of its rate."""

    records_per_s: int
    burst_s: int
    bytes_per_day: int

    def told(self) -> dict[str, int]:
        """As the registration policy has it."""
        return {"records_per_s": self.records_per_s, "burst_s": self.burst_s,
                "bytes_per_day": self.bytes_per_day}  # fmt: skip


def parse_quotas(tables: Mapping[str, Mapping[str, int]]) -> dict[str, Quota]:
    """The quotas of the configuration, the others as they are by default."""
    found = {}
    for holder in tables:
        if holder not in HOLDERS:
            raise Malformed("bad-value", f"quotas.{holder}: device, gateway or fleet")
    for holder, default in QUOTAS.items():
        given = dict(zip(("records_per_s", "burst_s", "bytes_per_day"), default, strict=True))
        for name, value in tables.get(holder, {}).items():
            if name not in given:
                raise Malformed("bad-value", f"quotas.{holder}.{name}: {', '.join(given)}")
            most = QUOTA_BURST_S_MAX if name == "burst_s" else QUOTA_MAX
            if not 1 <= value <= most:
                raise Malformed("bad-value", f"quotas.{holder}.{name}: 1 to {most}")
            given[name] = value
        found[holder] = Quota(**given)
    return found
