"""What `tally bench fleet` shows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tallystick.tools.bench import gateway_time
from tallystick.tools.bench.recording import CHECKPOINT_RECORDS
from tallystick.tools.bench.result import Result

OURS = "tallystick"
MIB = 1 << 20
MS_PER_S, US_PER_S = 1_000, 1_000_000


@dataclass(frozen=True)
class Paced:
    """Devices at the pace of a fleet; shares are of one core, latencies from publish to receipt."""

    sent_records: int
    covered_records: int
    carried_per_s: float
    latency_p50_ms: float
    latency_p99_ms: float
    latency_most_ms: float
    gateway_core_share: float
    gateway_us_a_record: float
    broker_core_share: float
    gateway_resident_bytes: int
    late_ms: float  # how much after its time a device spoke, at most: the bench's own fault

    @staticmethod
    def of(
        found: Sequence[Mapping[str, Any]], shares: Mapping[str, float], resident: int, taken: float
    ) -> "Paced":
        """From what each process of devices heard; `taken`: seconds that the shares are of."""
        latencies = sorted(latency for one in found for latency in one["latencies_s"])
        covered = sum(one["covered"] for one in found) * CHECKPOINT_RECORDS
        begin_s = min(one["begin_s"] for one in found)
        last_s = max([one["last_s"] for one in found] + [one["sent_s"] for one in found])
        return Paced(
            sent_records=sum(one["sent"] for one in found) * CHECKPOINT_RECORDS,
            covered_records=covered,
            carried_per_s=round(covered / (last_s - begin_s), 1),
            latency_p50_ms=_ms(percentile(latencies, 0.5)),
            latency_p99_ms=_ms(percentile(latencies, 0.99)),
            latency_most_ms=_ms(percentile(latencies, 1.0)),
            gateway_core_share=round(shares["gateway"], 4),
            gateway_us_a_record=round(shares["gateway"] * taken * US_PER_S / max(1, covered), 2),
            broker_core_share=round(shares["broker"], 4),
            gateway_resident_bytes=resident,
            late_ms=_ms(max(one["late_s"] for one in found)),
        )


def percentile(ordered: Sequence[float], part: float) -> float:
    """The least value that so large a part is not above; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[max(0, -(-int(part * 1_000) * len(ordered) // 1_000) - 1)]


def _ms(seconds: float) -> float:
    return round(seconds * MS_PER_S, 1)


class FleetResult(Result):
    """Rates as fast as receipts come; and what was carried at the pace of a fleet."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__("fleet", 0.0, {}, 0.0, told)
        self.most: dict[str, float] = {}
        self.paced: dict[str, Paced] = {}
        self.seconds: dict[str, dict[str, float]] = {}
        self.welcome_s = 0.0

    def object(self) -> dict[str, Any]:
        """As Result's."""
        self.ours_per_s = self.most[OURS]
        self.peers = {name: rate for name, rate in self.most.items() if name != OURS}
        return {
            **super().object(),
            "welcome_s": round(self.welcome_s, 2),
            "paced": {name: asdict(one) for name, one in self.paced.items()},
            # The bench fails where a device's last receipt does not cover all that it sent.
            "lost_records": 0,
            "shares": {name: gateway_time.shares(one) for name, one in self.seconds.items()},
        }

    def _show_table(self, console: Console) -> None:
        self.object()
        super()._show_table(console)
        console.print(self._paced_table())
        console.print(gateway_time.table(self.seconds))

    def _plain(self) -> Iterable[tuple[str, Any]]:
        yield from self.details.items()
        yield "welcome_s", round(self.welcome_s, 2)
        yield "lost_records", 0

    def _paced_table(self) -> Table:
        title = "at the pace of the fleet"
        table = Table(title=title, title_justify="left")
        table.add_column("what")
        for name in self.paced:
            table.add_column(name, justify="right")
        rows: dict[str, Callable[[Paced], str]] = {
            "records/s carried": lambda one: f"{one.carried_per_s:,.0f}",
            "receipt after, p50": lambda one: f"{one.latency_p50_ms:,.0f} ms",
            "receipt after, p99": lambda one: f"{one.latency_p99_ms:,.0f} ms",
            "gateway, of a core": lambda one: f"{one.gateway_core_share:.1%}",
            "gateway, a record": lambda one: f"{one.gateway_us_a_record:.1f} us",
            "gateway, memory": lambda one: f"{one.gateway_resident_bytes / MIB:,.0f} MiB",
            "broker, of a core": lambda one: f"{one.broker_core_share:.1%}",
            "covered of sent": lambda one: f"{one.covered_records:,} of {one.sent_records:,}",
        }
        for what, said in rows.items():
            table.add_row(what, *(said(one) for one in self.paced.values()))
        return table

    def draw(self, path: Path) -> None:
        """A bar for ours and one for the best peer."""
        title = f"A gateway's time, {self.details['devices']:,} devices"
        shares = {name: gateway_time.shares(one) for name, one in self.seconds.items()}
        gateway_time.draw(path, title, shares)
