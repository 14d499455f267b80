"""Pictures of the validator's benches, drawn with matplotlib as SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tallystick.tools.bench.result import machine

# From the palette of Okabe and Ito, told apart by all eyes.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#999999", "#56b4e9")
MARKERS = "os^Dv*x"
SIZE_INCHES = (8, 4.2)
SIZE_INCHES_WIDE = (8, 3.2)


def shares(
    path: Path, title: str, names: Sequence[str], bars: Mapping[str, Sequence[float]]
) -> None:
    """A bar lying down for each entry, of the shares of what `names` says."""
    percent = {bar: [100 * value for value in values] for bar, values in bars.items()}
    _stack(path, title, ("% of the time", 100), names, percent)


def stacked(
    path: Path,
    title: str,
    label: str,
    names: Sequence[str],
    bars: Mapping[str, Sequence[float]],
) -> None:
    """A bar lying down for each entry, of amounts of what `names` says, in what `label` says."""
    _stack(path, title, (label, None), names, bars)


def _stack(
    path: Path,
    title: str,
    axis: tuple[str, float | None],
    names: Sequence[str],
    bars: Mapping[str, Sequence[float]],
) -> None:
    figure, axes = _figure(SIZE_INCHES_WIDE, title)
    left = [0.0] * len(bars)
    for nth, name in enumerate(names):
        widths = [values[nth] for values in bars.values()]
        axes.barh(list(bars), widths, left=left, color=COLOURS[nth], label=name)
        left = [at + width for at, width in zip(left, widths, strict=True)]
    axes.set_xlim(0, axis[1])
    axes.set_xlabel(axis[0])
    axes.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=len(names), frameon=False, fontsize=8)
    _save(figure, path)


def lines(
    path: Path,
    title: str,
    axis: tuple[str, str],
    found: Mapping[str, Sequence[tuple[float, float]]],
) -> None:
    """Lines through (x, y), x on a scale by tens and y from zero; axis: what both are."""
    figure, axes = _figure(SIZE_INCHES, title)
    for nth, (name, points) in enumerate(found.items()):
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            color=COLOURS[nth % len(COLOURS)],
            marker=MARKERS[nth % len(MARKERS)],
            label=name,
        )
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(axis[0])
    axes.set_ylabel(axis[1])
    axes.grid(visible=True, color="#dddddd")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    _save(figure, path)


def columns(path: Path, title: str, label: str, found: Mapping[str, float]) -> None:
    """A column for each name."""
    figure, axes = _figure(SIZE_INCHES, title)
    drawn = axes.bar(list(found), list(found.values()), color=COLOURS[0])
    axes.bar_label(drawn, fmt="{:,.0f}")
    axes.set_ylabel(label)
    _save(figure, path)


def _figure(size: tuple[float, float], title: str) -> tuple[Any, Any]:
    # Imported when a picture is asked for: it takes a second.
    import matplotlib as mpl  # noqa: PLC0415 - see above
    from matplotlib.figure import Figure  # noqa: PLC0415 - see above

    mpl.rcParams["svg.fonttype"] = "none"  # text stays text
    mpl.rcParams["svg.hashsalt"] = "tallystick"  # the same figures are the same bytes
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left")
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    here = machine()
    said = f"{here['system']}, {here['cores']} cores, load {here['load_1_min']}"
    figure.axes[0].set_title(said, loc="right", fontsize=7, color="#666666")
    figure.savefig(path, format="svg", metadata={"Date": None})
