"""`tally gateway drain`: everything to the validators, nothing new."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from tallystick.gateway import config as configs
from tallystick.gateway import logs
from tallystick.gateway.draining import Drained
from tallystick.gateway.draining import drain as drained
from tallystick.tools._interrupt import until_signalled
from tallystick.tools._progress import progress
from tallystick.tools.gateway_common import CONFIG, JSON, plain


@click.command(
    epilog="""\b
Examples:
  tally gateway drain --config gateway.toml
  tally gateway drain --config gateway.toml --wait 600 --json
""",
    short_help="Send everything to the validators, take nothing new.",
)
@CONFIG
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, 604_800),
    default=3600.0,
    show_default=True,
    help="Seconds to go on at most.",
)
@JSON
def drain(path: Path, wait_s: float, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Send all that a stopped gateway holds to the validators of its file, then end.

    Before a gateway goes out of service: it takes nothing new meanwhile. Exit code 0 when every
    validator was sent everything; what one refused is set aside and counted.
    """
    logs.configure()
    with progress("segments sent, of the slowest validator") as told:

        def look(found: list[Drained]) -> None:
            if found:
                slowest = min(found, key=lambda one: one.has)
                told(slowest.has, slowest.size)

        found = drained(configs.load(path), until_signalled(), wait_s, look)
    # Where nobody is configured nobody has what is here: a script must not take that for done.
    done = bool(found) and all(one.done for one in found)
    if as_json:
        rows = [{**asdict(one), "done": one.done} for one in found]
        click.echo(json.dumps({"done": done, "validators": rows}))
    for one in () if as_json else found:
        error = f": {plain(one.error)}" if one.error and not one.done else ""
        click.echo(
            f"{one.validator} has {one.has:,} of {one.size:,} segments, {one.held:,} wait, "
            f"{one.set_aside:,} are set aside{error}"
        )
    if not found and not as_json:
        click.echo("no validators are configured: nothing was sent")
    if not done:
        raise click.exceptions.Exit(1)
