"""What `tally bench forward` shows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tallystick.tools.bench import forward_time, gateway_time
from tallystick.tools.bench.result import Result

# Issue 6: a backlog shall drain at least so many times faster than records come in.
GOAL_TIMES = 10


@dataclass(frozen=True)
class Drained:
    """A backlog that was sent to validators: the slowest one's rate, and the gateway's own time."""

    content: str
    validators: int
    records_per_s: float  # that every validator has
    gateway_us_a_record: float  # processor time, for each record and validator
    with_start: bool = False  # too few records: the start of the gateway is in both

    @property
    def step(self) -> str:
        """Its name in a table."""
        return f"{self.content} to {self.validators}"


@dataclass(frozen=True)
class Wire:
    """Batches of one content: their bytes, and how fast these alone go over HTTP."""

    content: str
    raw_bytes: int
    packed_bytes: int
    batches: int
    bare_per_s: float  # records a second: POST, append, fsync, a signature


class ForwardResult(Result):
    """The first drain beside the peers; all drains; and the intake that they are held against."""

    def __init__(
        self,
        drains: Sequence[Drained],
        wires: Mapping[str, Wire],
        intake_per_s: float,
        live_per_s: int,
        peers: dict[str, float],
        bound: float,
        told: Mapping[str, Any],
    ) -> None:
        super().__init__("forward", drains[0].records_per_s, peers, bound, told)
        self.drains = drains
        self.wires = wires
        self.intake_per_s = intake_per_s
        # What the gateways' processor time went to, where that was asked for.
        self.seconds: Mapping[str, Mapping[str, float]] = {}
        self.live_per_s = live_per_s

    def object(self) -> dict[str, Any]:
        """As Result's."""
        shares = {name: gateway_time.shares(one) for name, one in self.seconds.items()}
        return {
            **super().object(),
            **({"shares": shares} if shares else {}),
            "intake_per_s": round(self.intake_per_s, 1),
            "live_per_s": self.live_per_s,
            "drains": [self._drain(one) for one in self.drains],
        }

    def draw(self, path: Path) -> None:
        """What each gateway's processor time goes to, as SVG."""
        title = "A gateway's processor time while it sends a backlog to one validator"
        gateway_time.draw(path, title, self.object()["shares"], forward_time.NAMES)

    def _drain(self, one: Drained) -> dict[str, Any]:
        wire = self.wires[one.content]
        a_record = wire.packed_bytes / self.details["records"]
        rounded = {
            name: round(value, 2) if isinstance(value, float) else value
            for name, value in asdict(one).items()
        }
        return {
            **rounded,
            "bytes_per_s": round(one.records_per_s * one.validators * a_record),
            "bytes_a_record": round(a_record, 2),
            "compressed_to": round(wire.packed_bytes / wire.raw_bytes, 4),
            "batches": wire.batches,
            "bare_per_s": round(wire.bare_per_s, 1),
            "ratio_to_bare": round(one.records_per_s / wire.bare_per_s, 4),
            "ratio_to_intake": round(one.records_per_s / self.intake_per_s, 2),
            "ratio_to_live": round(one.records_per_s / self.live_per_s, 2),
            "goal_up_to_live_per_s": round(one.records_per_s / GOAL_TIMES, 1),
        }

    def _show_table(self, console: Console) -> None:
        super()._show_table(console)
        table = Table(title="the backlog, by what goes to how many", title_justify="left")
        table.add_column("what")
        for name in ("records/s", "MB/s", "bytes/record", "packed to", "gateway"):
            table.add_column(name, justify="right")
        for name in ("of the intake", "of the live rate", "of bare POST"):
            table.add_column(name, justify="right")
        for one in self.drains:
            said = self._drain(one)
            table.add_row(
                one.step,
                f"{one.records_per_s:,.0f}",
                f"{said['bytes_per_s'] / 1e6:,.1f}",
                f"{said['bytes_a_record']:,.1f}",
                f"{said['compressed_to']:.0%}",
                f"{one.gateway_us_a_record:.1f} us",
                f"{said['ratio_to_intake']:.2f} times",
                f"{said['ratio_to_live']:.1f} times",
                f"{said['ratio_to_bare']:.1%}",
            )
        console.print(table)
        if self.seconds:
            console.print(gateway_time.table(self.seconds, forward_time.NAMES))

    def _plain(self) -> Iterable[tuple[str, Any]]:
        yield from self.details.items()
        yield "intake, as fast as it goes, per s", f"{self.intake_per_s:,.0f}"
        yield "live rate that is assumed, per s", f"{self.live_per_s:,}"
