"""`tally bench`: the hot paths beside their peers and the bound, side by side in one run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tallystick.tools.bench import ingest as ingest_bench
from tallystick.tools.bench import record as record_bench
from tallystick.tools.bench.bound import SECONDS_MAX


@click.group(
    epilog="""\b
Examples:
  tally bench record               decisions on CPython and MicroPython
  tally bench ingest               Mosquitto to custody receipt
  tally bench ingest --json | jq .ratio_to_best_peer
"""
)
def bench() -> None:
    """Measure the hot paths beside their peers.

    The last line is one JSON object. Figures mean something on a machine that does nothing else.
    """


@bench.command(
    epilog="""\b
Example:
  tally bench record --seconds 5
"""
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.05, SECONDS_MAX),
    default=record_bench.SECONDS,
    show_default=True,
    help="How long each rate is measured.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the JSON object only.")
def record(*, seconds: float, as_json: bool) -> None:
    """Decisions a second through the recorder, on CPython and on MicroPython.

    The real Recorder with journal, a checkpoint every 64 records and a key in a file, beside one
    signature on each record.
    """
    with _progress(record_bench.steps()) as advance:
        result = record_bench.run(seconds, advance)
    result.show(as_json=as_json)


@bench.command(
    epilog="""\b
Examples:
  tally bench ingest
  tally bench ingest --records 1000000 --devices 32
"""
)
@click.option(
    "--records",
    type=click.IntRange(64, 10_000_000),
    default=ingest_bench.RECORDS,
    show_default=True,
    help="Records that our devices send, in segments of 64.",
)
@click.option(
    "--devices",
    type=click.IntRange(1, 1_000),
    default=ingest_bench.DEVICES,
    show_default=True,
    help="Devices that send them, in turn.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.05, SECONDS_MAX),
    default=ingest_bench.SECONDS,
    show_default=True,
    help="How long each peer is measured, about.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the JSON object only.")
def ingest(*, records: int, devices: int, seconds: float, as_json: bool) -> None:
    """Records a second from a real Mosquitto to the gateway's custody receipt.

    The clock runs from the first publish to the custody receipt that covers everything: received,
    verified, on disk, signed for. Peers take the same way with one signature on each record.
    """
    with _progress(ingest_bench.steps()) as advance:
        result = ingest_bench.run(records, devices, seconds, advance)
    result.show(as_json=as_json)


@contextmanager
def _progress(steps: list[str]) -> Iterator[Callable[[str], None]]:
    """A bar on the terminal's error output, so that `--json` stays clean."""
    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    # Drawn twice a second: the drawing must not be what is measured.
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, refresh_per_second=2) as shown:
        bar = shown.add_task(steps[0], total=len(steps))

        def advance(step: str) -> None:
            shown.update(bar, description=step, completed=steps.index(step))

        yield advance
        shown.update(bar, completed=len(steps))
