"""What every bench prints last: one object with the rates side by side."""

import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from tallystick.evidence.errors import TallyError


class BenchFailed(TallyError):
    """A bench could not measure; the message says why."""


@dataclass
class Result:
    """Rates in records a second, measured in one run on one machine.

    `bound_per_s` is what the 2.5 SHA-256 a record alone allow in one Python thread (bound.py).
    """

    bench: str
    ours_per_s: float
    peers: dict[str, float]
    bound_per_s: float
    details: Mapping[str, Any] = field(default_factory=dict)

    def object(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        best = max(self.peers.values(), default=0.0)
        # Nobody else does some of it.
        ratio = {"ratio_to_best_peer": round(self.ours_per_s / best, 2)} if best else {}
        return {
            "bench": self.bench,
            "ours_per_s": round(self.ours_per_s, 1),
            "peers": {name: round(rate, 1) for name, rate in self.peers.items()},
            "bound_per_s": round(self.bound_per_s, 1),
            **ratio,
            "ratio_to_bound": round(self.ours_per_s / self.bound_per_s, 4),
            **self.details,
            "machine": machine(),
        }

    def show(self, *, as_json: bool) -> None:
        """Print a table for people and then the object, or the object alone for scripts."""
        if not as_json:
            self._show_table(Console())
        click.echo(json.dumps(self.object()))

    def _show_table(self, console: Console) -> None:
        table = Table(title=f"tally bench {self.bench}", title_justify="left")
        table.add_column("what")
        table.add_column("records/s", justify="right")
        table.add_column("of the bound", justify="right")
        table.add_column("ours is", justify="right")
        for name, rate in {"tallystick": self.ours_per_s, **self.peers}.items():
            times = "" if name == "tallystick" else f"{self.ours_per_s / rate:.1f} times"
            table.add_row(name, f"{rate:,.0f}", f"{rate / self.bound_per_s:.2%}", times)
        table.add_row("bound: 2.5 SHA-256", f"{self.bound_per_s:,.0f}", "100.00%", "")
        console.print(table)
        for name, value in self._plain():
            for line in _lines(name, value):
                console.print(line, highlight=False, soft_wrap=True)

    def _plain(self) -> Iterable[tuple[str, Any]]:
        """What is shown line by line under the table."""
        return self.details.items()


def _lines(name: str, value: object) -> list[str]:
    """One line for each plain value; lists of objects one after another."""
    if isinstance(value, Mapping):
        return [f"{name}: " + ", ".join(f"{key} {item}" for key, item in value.items())]
    if isinstance(value, list):
        found = []
        for item in value:
            found.append(f"{name}:")
            for key, inner in item.items():
                found += [f"  {line}" for line in _lines(key, inner)]
        return found
    return [f"{name}: {value}"]


def machine() -> dict[str, Any]:
    """What a figure needs beside it to mean anything."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "cores": os.cpu_count(),
        "load_1_min": round(os.getloadavg()[0], 2),
    }
