"""`tally plan`: what a fleet takes of disk and link, before anything is bought."""

import json

import click
from rich.table import Table

from tallystick.tools._screen import screen
from tallystick.tools.planning import Fleet, Plan, plan

RECORDS_MAX = 4_096  # docs/protocol.md, segment_items_max
RECORD_BYTES_MAX = 4_096  # record_device_bytes_max
SEGMENT_BYTES_MAX = 262_144


@click.command(
    "plan",
    epilog="""\b
Examples:
  tally plan --devices 20 --decisions 10 --validators 3 --days 30
  tally plan --devices 200 --decisions 1000 --bytes 60 --records 256 --days 7 --json
""",
    short_help="Compute bytes a day, disk and link for a fleet.",
)
@click.option("--devices", type=click.IntRange(1, 1_000_000), default=10, show_default=True)
@click.option(
    "--decisions",
    type=click.FloatRange(0, 100_000, min_open=True),
    default=10.0,
    show_default=True,
    help="A second, of one device.",
)
@click.option(
    "--bytes",
    "size",
    type=click.IntRange(1, RECORD_BYTES_MAX),
    default=100,
    show_default=True,
    help="Of one record.",
)
@click.option(
    "--records",
    type=click.IntRange(1, RECORDS_MAX),
    default=64,
    show_default=True,
    help="Of one segment.",
)
@click.option("--validators", type=click.IntRange(0, 64), default=3, show_default=True)
@click.option(
    "--days",
    type=click.IntRange(1, 36_500),
    default=30,
    show_default=True,
    help="That bodies are kept at the gateway.",
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def plan_(
    devices: int,
    decisions: float,
    size: int,
    records: int,
    validators: int,
    days: int,
    as_json: bool,  # noqa: FBT001 - click passes flags by name
) -> None:
    """Compute what a fleet takes: bytes a day, disk at its gateway, links.

    Sizes are those of the format itself, without compression: batches to validators are packed
    with zstd, by how much depends on what records repeat. All validators get everything.
    """
    if records * size > SEGMENT_BYTES_MAX - RECORDS_MAX:
        message = f"a segment of {records} records of {size} bytes is longer than 256 KiB"
        raise click.UsageError(message)
    fleet = Fleet(devices, decisions, size, records, validators, days)
    found = plan(fleet)
    if as_json:
        click.echo(json.dumps({"fleet": vars(fleet), "plan": found.rows()}))
        return
    screen().print(_table(fleet, found))


def _table(fleet: Fleet, found: Plan) -> Table:
    table = Table()
    table.add_column("what")
    table.add_column("figure", justify="right")
    for what, figure in (
        ("a segment", _bytes(found.segment_bytes)),
        ("added to a decision", f"{found.added_bytes_per_decision:.1f} bytes"),
        ("segments a day", f"{found.segments_per_day:,.0f}"),
        ("a device sends", _bits(found.device_up_bits_per_s)),
        ("a device hears", _bits(found.device_down_bits_per_s)),
        ("through the broker a day", _bytes(found.broker_bytes_per_day)),
        ("to and from each validator a day", _bytes(found.validator_bytes_per_day)),
        ("to and from each validator", _bits(found.validator_bits_per_s)),
        ("gateway's disk, grows a day", _bytes(found.store_bytes_per_day)),
        ("of that left when bodies are pruned", _bytes(found.store_left_bytes_per_day)),
        (f"gateway's disk after {fleet.days} days", _bytes(found.store_bytes)),
        ("gateway's disk after a year", _bytes(found.store_bytes_after_a_year)),
    ):
        table.add_row(what, figure)
    return table


def _bytes(count: float) -> str:
    return _scaled(count, ("bytes", "kB", "MB", "GB", "TB", "PB"))


def _bits(count: float) -> str:
    return _scaled(count, ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"))


def _scaled(count: float, units: tuple[str, ...]) -> str:
    at = 0
    while count >= 1000 and at + 1 < len(units):
        count, at = count / 1000, at + 1
    return f"{count:.0f} {units[at]}" if at == 0 else f"{count:.1f} {units[at]}"
