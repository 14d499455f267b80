"""What `tally bench reconcile` shows: the engine, a claim's cost by what is open, workers."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tallystick.tools.bench import pictures
from tallystick.tools.bench.result import Result

GOAL_PER_S = 20_000
MIB = 1 << 20
COSTS = ("begin_us", "ingest_us", "ingest_cpu_us", "tick_us", "tick_cpu_us")


class ReconcileResult(Result):
    """Result of the engine, with what the store adds."""

    def __init__(
        self,
        engine: Mapping[str, float],
        stores: Mapping[str, Sequence[Mapping[str, Any]]],
        workers: Sequence[Mapping[str, Any]],
        absent: Mapping[str, str],
    ) -> None:
        self.engine = engine
        self.stores = stores
        self.workers = workers
        details: dict[str, Any] = {
            "goal_per_s": GOAL_PER_S,
            "with_reading_and_writing_per_s": round(engine["parse_find_encode"], 1),
            "stores": [
                {"store": store, **self._ends(points), "points": [dict(one) for one in points]}
                for store, points in stores.items()
            ],
            "workers": [dict(one) for one in workers],
        }
        if absent:
            details["not_measured"] = dict(absent)
        super().__init__("reconcile", engine["find"], {}, engine["bound"], details)

    @staticmethod
    def _ends(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The tick's rate where most is open, and how much dearer a claim is there than first."""
        first, last = points[0], points[-1]
        return {
            "tick_per_s": round(1e6 / last["tick_us"], 1),
            "tick_last_to_first": round(last["tick_us"] / first["tick_us"], 2),
            "ingest_last_to_first": round(last["ingest_us"] / first["ingest_us"], 2),
            "tick_cpu_last_to_first": round(last["tick_cpu_us"] / first["tick_cpu_us"], 2),
            "ingest_cpu_last_to_first": round(last["ingest_cpu_us"] / first["ingest_cpu_us"], 2),
        }

    def _show_table(self, console: Console) -> None:
        table = Table(title="tally bench reconcile", title_justify="left")
        table.add_column("what, on one core")
        for name in ("claims/s", "of the bound", "of the goal"):
            table.add_column(name, justify="right")
        rows = {
            "engine: find": self.engine["find"],
            "engine: parse, find, encode": self.engine["parse_find_encode"],
            **{
                f"tick on {store}, {points[-1]['open']:,} open": 1e6 / points[-1]["tick_us"]
                for store, points in self.stores.items()
            },
            "bound: two SHA-256 a finding": self.bound_per_s,
        }
        for what, rate in rows.items():
            share = f"{rate / self.bound_per_s:.2%}"
            table.add_row(what, f"{rate:,.0f}", share, f"{rate / GOAL_PER_S:.2f}")
        console.print(table)
        console.print(self._points())
        if self.workers:
            console.print(self._workers())

    def _points(self) -> Table:
        table = Table(title="microseconds a claim", title_justify="left")
        table.add_column("store")
        for name in ("open", "first claim", "answer", "its CPU", "tick", "its CPU", "MiB"):
            table.add_column(name, justify="right")
        for store, points in self.stores.items():
            for one in points:
                costs = [f"{one[name]:,.0f}" for name in COSTS]
                memory = f"{one['resident_bytes'] / MIB:,.0f}"
                table.add_row(store, f"{one['open']:,}", *costs, memory)
            table.add_section()
        return table

    def _workers(self) -> Table:
        table = Table(title="findings on PostgreSQL by workers", title_justify="left")
        for name in ("workers", "claims/s", "of none"):
            table.add_column(name, justify="right")
        alone = self.workers[0]["claims_per_s"]
        for one in self.workers:
            rate = one["claims_per_s"]
            table.add_row(str(one["workers"]), f"{rate:,.0f}", f"{rate / alone:.2f} times")
        return table

    def _plain(self) -> Iterator[tuple[str, object]]:
        shown = {"stores", "workers"}
        yield from ((name, value) for name, value in self.details.items() if name not in shown)

    def draw(self, path: Path) -> None:
        """Lines of what a claim costs, over how many interactions are open."""
        names = {
            "ingest_us": "ingest",
            "ingest_cpu_us": "its CPU",
            "tick_us": "finding and verdict",
            "tick_cpu_us": "their CPU",
        }
        lines = {
            f"{store}: {said}": [(one["open"], one[name]) for one in points]
            for store, points in self.stores.items()
            for name, said in names.items()
        }
        axis = ("open interactions", "microseconds a claim")
        pictures.lines(path, "What a claim costs, by what is open", axis, lines)
