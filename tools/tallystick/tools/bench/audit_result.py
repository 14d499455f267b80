"""What `tally bench audit` shows."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tallystick.tools.bench import pictures
from tallystick.tools.bench.result import Result


class AuditResult(Result):
    """Result of one core's verification, with what the command takes."""

    def __init__(
        self,
        entries: int,
        alone: float,
        bound: float,
        one_s: float,
        on_all: tuple[int, float],
        shards_s: Sequence[float],
    ) -> None:
        cores, all_s = on_all
        # Machines that each take a shard are ready when the slowest is.
        self.rates = {
            "verification, one core": alone,
            "tally audit, 1 job": entries / one_s,
            f"tally audit, {cores} jobs": entries / all_s,
            f"{len(shards_s)} shards, a machine each": entries / max(shards_s),
        }
        details = {
            "entries": entries,
            "cores": cores,
            "one_job_per_s": round(entries / one_s, 1),
            "all_cores_per_s": round(entries / all_s, 1),
            "all_cores_to_one": round(one_s / all_s, 2),
            "shards": len(shards_s),
            "shards_per_s": round(entries / max(shards_s), 1),
            "shard_s": [round(taken, 3) for taken in shards_s],
        }
        super().__init__("audit", alone, {}, bound, details)

    def _show_table(self, console: Console) -> None:
        table = Table(title="tally bench audit", title_justify="left")
        table.add_column("what")
        table.add_column("entries/s", justify="right")
        table.add_column("of the bound", justify="right")
        for name, rate in {**self.rates, "bound: two SHA-256": self.bound_per_s}.items():
            table.add_row(name, f"{rate:,.0f}", f"{rate / self.bound_per_s:.2%}")
        console.print(table)
        for name, value in self.details.items():
            console.print(f"{name}: {value}", highlight=False, soft_wrap=True)

    def draw(self, path: Path) -> None:
        """A column for each way."""
        names = {name.replace(", ", ",\n"): rate for name, rate in self.rates.items()}
        pictures.columns(path, "Entries of a log verified in a second", "entries/s", names)
