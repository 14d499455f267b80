"""How `tally bench sign` shows what it measured."""

from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from tallystick.tools.bench.result import Result, machine

# The key whose decisions are ours: a chip at full speed.
OURS = "atecc608-m0"
NONE = "-"
SPREAD = ("median", "p99", "worst")


@dataclass
class SignResult(Result):
    """`bound_per_s` is what the recorder covers with the fastest key of the run."""

    def _show_table(self, console: Console) -> None:
        keys = [one for one in self.details["keys"] if "not_measured" not in one]
        console.print(_rates(keys))
        console.print(_decisions(keys))
        for line in self._summary():
            console.print(line, highlight=False, soft_wrap=True)

    def _summary(self) -> list[str]:
        keys = {one["key"]: one for one in self.details["keys"]}
        said = [
            f"not measured: {name}: {one['not_measured']}"
            for name, one in keys.items()
            if "not_measured" in one
        ]
        paced = keys[OURS]["paced"]
        made, lag = paced["made_per_s"], paced["lag_ms"]
        kept = min(paced["covered_per_s"], made)
        said.append(
            f"of {made:,.0f} decisions/s an ATECC608 covers {kept:,.0f},"
            f" {lag['median']:,.0f} ms later, {lag['worst']:,.0f} ms at worst"
        )
        times = self.ours_per_s / max(self.peers.values())
        share = self.ours_per_s / self.bound_per_s
        said.append(
            f"of as many as it can {self.ours_per_s:,.0f}: {times:,.0f} times one signature a"
            f" record, {share:.0%} of what the recorder can do"
        )
        said.append(f"load average of this machine over the last minute: {machine()['load_1_min']}")
        return said


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE, collapse_padding=True)
    table.add_column("key", no_wrap=True, vertical="bottom")
    for name in columns:
        table.add_column(name, justify="right", vertical="bottom")
    return table


def _rates(keys: list[dict[str, Any]]) -> Table:
    """Two lines a key: at 1,000 decisions a second, and at as many as it can."""
    columns = ("signs/s", "covered/s", "times", "check-\npoints", "lag ms:\nmedian", "\nworst")
    table = _table("Decisions covered by signed checkpoints, at 1,000/s and at most", columns)
    for one in keys:
        for load in ("paced", "unpaced"):
            run = one[load]
            paced = load == "paced"
            times = run["covered_per_s"] / one["signed_records_per_s"]
            table.add_row(
                one["key"] if paced else "  as many as it can",
                f"{one['signatures_per_s']:,.1f}" if paced else "",
                f"{run['covered_per_s']:,.0f}",
                "" if paced else f"{times:,.1f}",
                f"{run['checkpoints']:,}",
                f"{run['lag_ms']['median']:,.0f}",
                f"{run['lag_ms']['worst']:,.0f}",
            )
    return table


def _decisions(keys: list[dict[str, Any]]) -> Table:
    columns = ("signing:\nmedian", "\np99", "\nworst", "not:\nmedian", "\np99", "\nworst")
    table = _table("decision() at 1,000/s in us: a signature is under way, or not", columns)
    for one in keys:
        took = one["paced"]["decision_us"]
        cells = [_cell(took[when], name) for when in ("signing", "else") for name in SPREAD]
        table.add_row(one["key"], *cells)
    return table


def _cell(spread: dict[str, Any] | None, name: str) -> str:
    return NONE if spread is None else f"{spread[name]:,.0f}"
