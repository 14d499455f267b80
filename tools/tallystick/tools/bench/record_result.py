"""What `tally bench record` shows beside its rates: steps, memory and modules; and a picture."""

from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape

from rich.console import Console
from rich.table import Table

from tallystick.tools.bench.result import Result, machine
from tallystick.tools.bench.stepping import STEPS

# One colour a step, from the palette of Okabe and Ito, told apart by all eyes.
COLOURS = ("#0072b2", "#56b4e9", "#009e73", "#f0e442", "#e69f00", "#d55e00", "#cc79a7", "#999999")
WIDTH = 900
MODULES_SHOWN = 12
BAR_WIDTH = 640
BAR_X = 190
ROW_HEIGHT = 58
TOP = 92


class RecordResult(Result):
    """Result with the tables of each runtime."""

    def runtimes(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(name, figures) of each runtime that was measured."""
        yield "CPython " + machine()["python"], dict(self.details)
        for one in self.details["micropython"]:
            if "not_measured" not in one:
                yield f"MicroPython {one['version']}, {one['bits']} bits", one

    def _show_table(self, console: Console) -> None:
        super()._show_table(console)
        console.print(self._steps())
        console.print(self._memory())
        console.print(self._modules())
        if "steady" in self.details:
            console.print(self._steady())

    def _plain(self) -> Iterator[tuple[str, object]]:
        shown = {"steps_us", "micropython", "modules", "steady"}
        yield from ((name, value) for name, value in self.details.items() if name not in shown)
        for one in self.details["micropython"]:
            if "not_measured" in one:
                yield f"MicroPython, {one['bits']} bits", f"not measured: {one['not_measured']}"

    def _steps(self) -> Table:
        table = Table(title="microseconds a record", title_justify="left")
        table.add_column("step")
        runtimes = list(self.runtimes())
        for name, _ in runtimes:
            table.add_column(name, justify="right")
        for step in STEPS:
            table.add_row(step, *(f"{found['steps_us'][step]:,.2f}" for _, found in runtimes))
        table.add_section()
        for name in ("decision_us", "bare_us", "decision_to_bare"):
            table.add_row(name, *(f"{found[name]:,.2f}" for _, found in runtimes))
        return table

    def _memory(self) -> Table:
        table = Table(title="the recorder alone on MicroPython", title_justify="left")
        for name in ("bits", "smallest heap", "free in it", "allocations", "bytes a decision()"):
            table.add_column(name, justify="right")
        for one in self.details["micropython"]:
            if "not_measured" not in one:
                table.add_row(
                    str(one["bits"]),
                    f"{one['heap_bytes'] // 1024} KiB",
                    f"{one['memory_free_bytes']:,}",
                    f"{one['allocations_per_decision']:.0f}",
                    f"{one['allocated_bytes_per_decision']:,.0f}",
                )
        return table

    def _steady(self) -> Table:
        table = Table(title="free bytes in each tenth, 32 bits", title_justify="left")
        for name in ("what", "heap", "decisions", "dropped", "faults", "first tenth", "last", "s"):
            table.add_column(name, justify="left" if name == "what" else "right")
        for one in self.details["steady"]:
            spans = [f"{one['least'][at]:,} to {one['most'][at]:,}" for at in (0, -1)]
            faults = sum(one["faults"].values())
            counts = [f"{one[name]:,}" for name in ("decisions", "dropped")]
            heap = f"{one['heap_bytes'] // 1024} KiB"
            row = (one["what"], heap, *counts, str(faults), *spans, f"{one['seconds']:,.0f}")
            table.add_row(*row)
        return table

    def _modules(self) -> Table:
        table = Table(title="modules of a board's library, in bytes", title_justify="left")
        table.add_column("module")
        table.add_column(".mpy", justify="right")
        table.add_column("heap, 32 bits", justify="right")
        every = self.details["modules"]
        largest = sorted(every, key=lambda one: -int(one["mpy_bytes"]))[:MODULES_SHOWN]
        rows = [(one["name"], one["mpy_bytes"], one["heap_bytes"]) for one in largest]
        total = sum(one["mpy_bytes"] for one in every)
        for name, mpy, heap in [*rows, (f"all {len(every)} (--json has each)", total, None)]:
            table.add_row(name, f"{mpy:,}", "" if heap is None else f"{heap:,}")
        return table

    def picture(self) -> str:
        """An SVG: for each runtime a bar of what a record's steps take, and decision() below it."""
        runtimes = list(self.runtimes())
        longest = max(sum(found["steps_us"].values()) for _, found in runtimes)
        parts = [*_legend()]
        for row, (name, found) in enumerate(runtimes):
            parts += _bar(TOP + row * ROW_HEIGHT, name, found, BAR_WIDTH / longest)
        here = machine()
        said = f"{here['system']}, {here['cores']} cores, tally bench record"
        sign = "sign: Ed25519 in a file, in Python on MicroPython; a chip does it by itself"
        height = TOP + len(runtimes) * ROW_HEIGHT + 44
        parts.append(_text(20, height - 28, sign, size=11, fill="#666"))
        parts.append(_text(20, height - 12, said, size=11, fill="#666"))
        body = "\n".join(f"  {part}" for part in parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" font-family="sans-serif" role="img">\n'
            "  <title>What each step of a record costs</title>\n"
            f'  <rect width="{WIDTH}" height="{height}" fill="#fff"/>\n{body}\n</svg>\n'
        )


def _legend() -> Iterator[str]:
    yield _text(20, 28, "Microseconds a record, by step", size=18)
    x = 20
    for step, colour in zip(STEPS, COLOURS, strict=True):
        yield f'<rect x="{x}" y="48" width="14" height="14" fill="{colour}"/>'
        yield _text(x + 20, 60, step, size=13)
        x += 40 + 9 * len(step)


def _bar(y: int, name: str, found: dict[str, Any], scale: float) -> Iterator[str]:
    yield _text(20, y + 18, name, size=13)
    x = float(BAR_X)
    for step, colour in zip(STEPS, COLOURS, strict=True):
        width = found["steps_us"][step] * scale
        us = f"{found['steps_us'][step]:.2f}"
        yield (
            f'<rect x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="20" fill="{colour}">'
            f"<title>{step} {us} us</title></rect>"
        )
        x += width
    total = sum(found["steps_us"].values())
    yield _text(round(x) + 6, y + 19, f"{total:,.0f}", size=12)
    said = (
        f"decision() {found['decision_us']:.1f}, bare encoding and three hashes "
        f"{found['bare_us']:.1f}: {found['decision_to_bare']:.2f} times"
    )
    yield _text(BAR_X, y + 40, said, size=12, fill="#444")


def _text(x: int, y: int, said: str, *, size: int, fill: str = "#222") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}">{escape(said)}</text>'
