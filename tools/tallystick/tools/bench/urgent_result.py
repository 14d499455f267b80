"""What `tally bench urgent` shows: both ways' times side by side, and where they go."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from tallystick.tools.bench import pictures, urgent_legs
from tallystick.tools.bench.result import machine
from tallystick.tools.bench.urgent_legs import LEGS, Passed

# Times the bare path's p99 (design).
GOAL_TIMES = 3.0


@dataclass
class Ran:
    """Seconds of each interaction, ours and the bare path's; and when each passed where."""

    ours_s: list[float] = field(default_factory=list)
    bare_s: list[float] = field(default_factory=list)
    ours_passed: list[Passed] = field(default_factory=list)
    bare_passed: list[Passed] = field(default_factory=list)


def quantiles(found: Sequence[float]) -> dict[str, float]:
    """Milliseconds: the median, the 99th percentile by rank, the worst."""
    rising = sorted(found)
    p50, p99 = (rising[math.ceil(share * len(rising)) - 1] for share in (0.5, 0.99))
    return {
        name: round(1000 * value, 2)
        for name, value in (("p50_ms", p50), ("p99_ms", p99), ("max_ms", rising[-1]))
    }


class UrgentResult:
    """One row for each store; the first one's ratio stands at the top."""

    def __init__(
        self, ran: Mapping[str, Ran], absent: Mapping[str, str], told: Mapping[str, Any]
    ) -> None:
        self.absent = dict(absent)
        self.told = dict(told)
        self.stores = [_store(store, one) for store, one in ran.items()]

    def object(self) -> dict[str, Any]:
        """The object that is printed."""
        first = self.stores[0] if self.stores else {}
        named = ("ours", "bare", "ratio_p50", "ratio_p99")
        return {
            "bench": "urgent",
            **{name: first[name] for name in named if name in first},
            "goal_times_p99": GOAL_TIMES,
            **self.told,
            "stores": self.stores,
            **({"not_measured": self.absent} if self.absent else {}),
            "machine": machine(),
        }

    def show(self, *, as_json: bool) -> None:
        """Print tables for people and then the object, or the object alone for scripts."""
        if not as_json:
            console = Console()
            console.print(self._times())
            console.print(self._legs())
            for name, value in {**self.told, **self.absent}.items():
                console.print(f"{name}: {value}", highlight=False, soft_wrap=True)
        click.echo(json.dumps(self.object()))

    def _times(self) -> Table:
        table = Table(title="tally bench urgent, milliseconds", title_justify="left")
        table.add_column("store")
        table.add_column("what")
        for name in ("p50", "p99", "worst"):
            table.add_column(name, justify="right")
        for one in self.stores:
            for name, said in (("ours", "tallystick"), ("bare", "bare path")):
                table.add_row(one["store"], said, *(f"{ms:,.1f}" for ms in one[name].values()))
            ratios = (f"{one['ratio_p50']:.2f}", f"{one['ratio_p99']:.2f}", "")
            table.add_row("", f"times (goal: {GOAL_TIMES:g} at p99)", *ratios)
            table.add_section()
        return table

    def _legs(self) -> Table:
        table = Table(title="where the time goes, mean milliseconds", title_justify="left")
        table.add_column("leg")
        for one in self.stores:
            table.add_column(one["store"], justify="right")
            table.add_column("bare", justify="right")
        for leg in LEGS:
            cells = [f"{one[way][leg]:.1f}" for one in self.stores for way in ("legs", "bare_legs")]
            table.add_row(leg, *cells)
        return table

    def draw(self, path: Path) -> None:
        """A bar for each store and way, of milliseconds by leg."""
        bars = {
            f"{one['store']}\n{said}": [one[way][leg] for leg in LEGS]
            for one in self.stores
            for way, said in (("legs", "tallystick"), ("bare_legs", "bare path"))
        }
        title = "A decision's way to three verdicts"
        pictures.stacked(path, title, "milliseconds, mean", LEGS, bars)


def _store(store: str, ran: Ran) -> dict[str, Any]:
    ours, bare = quantiles(ran.ours_s), quantiles(ran.bare_s)
    return {
        "store": store,
        "ours": ours,
        "bare": bare,
        "ratio_p50": round(ours["p50_ms"] / bare["p50_ms"], 2),
        "ratio_p99": round(ours["p99_ms"] / bare["p99_ms"], 2),
        "legs": _rounded(ran.ours_passed),
        "bare_legs": _rounded(ran.bare_passed),
    }


def _rounded(passed: Sequence[Passed]) -> dict[str, float]:
    return {name: round(ms, 2) for name, ms in urgent_legs.mean(passed).items()}
