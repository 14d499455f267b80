"""What `tally bench validate` shows: rates by store and segment, and where the time goes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tallystick.tools.bench import pictures
from tallystick.tools.bench.result import Result
from tallystick.tools.bench.sampling import NAMES

Shares = Mapping[tuple[str, int], Mapping[str, float]]


@dataclass
class Ran:
    """Best rates of several rounds, in records a second: ours by records a segment, the peers."""

    ours: dict[int, float]
    peers: dict[str, float]

    def times(self, rate: float) -> float:
        """How many times the best peer's a rate is."""
        return rate / max(self.peers.values())


class ValidateResult(Result):
    """Result of the first store that was measured, at the smallest segment, and of all others."""

    def __init__(
        self,
        ran: Mapping[str, Ran],
        shares: Shares,
        absent: Mapping[str, str],
        bound: float,
        told: Mapping[str, Any],
    ) -> None:
        self.ran = ran
        self.shares = shares
        self.absent = absent
        first = next(iter(ran.values()))
        super().__init__(
            "validate",
            first.ours[min(first.ours)],
            first.peers,
            bound,
            {**told, "stores": [self._store(store) for store in ran], **self._not_measured()},
        )

    def _store(self, store: str) -> dict[str, Any]:
        ran = self.ran[store]
        return {
            "store": store,
            "peers": {name: round(rate, 1) for name, rate in ran.peers.items()},
            "segments": [
                {
                    "records_a_segment": each,
                    "ours_per_s": round(rate, 1),
                    "ratio_to_best_peer": round(ran.times(rate), 2),
                    "shares": dict(self.shares[store, each]),
                }
                for each, rate in ran.ours.items()
            ],
        }

    def _not_measured(self) -> dict[str, Any]:
        # Said, and not left out: a result without it must not look whole.
        return {"not_measured": dict(self.absent)} if self.absent else {}

    def _show_table(self, console: Console) -> None:
        table = Table(title="tally bench validate", title_justify="left")
        table.add_column("store")
        table.add_column("what")
        for name in ("records/s", "of the bound", "of the best peer"):
            table.add_column(name, justify="right")
        for store, ran in self.ran.items():
            rows = {
                f"tallystick, {each} records a segment": rate for each, rate in ran.ours.items()
            }
            for what, rate in {**rows, **ran.peers}.items():
                of_bound = f"{rate / self.bound_per_s:.2%}"
                times = f"{ran.times(rate):.1f} times"
                table.add_row(store, what, f"{rate:,.0f}", of_bound, times)
            table.add_section()
        table.add_row("", "bound: 2.5 SHA-256", f"{self.bound_per_s:,.0f}", "100.00%", "")
        console.print(table)
        console.print(self._share_table())

    def _share_table(self) -> Table:
        table = Table(title="the writer's time", title_justify="left")
        table.add_column("what")
        for store, each in self.shares:
            table.add_column(f"{store}, {each}", justify="right")
        for name in NAMES:
            table.add_row(name, *(f"{found[name]:.1%}" for found in self.shares.values()))
        return table

    def _plain(self) -> Iterator[tuple[str, object]]:
        yield from ((name, value) for name, value in self.details.items() if name != "stores")

    def draw(self, path: Path) -> None:
        """A bar for each store and segment, of shares of the writer's time."""
        bars = {
            f"{store}\n{each} records": [found[name] for name in NAMES]
            for (store, each), found in self.shares.items()
        }
        pictures.shares(path, "What a validator's time goes to", NAMES, bars)
