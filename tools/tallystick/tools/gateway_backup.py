"""`tally gateway backup` and `restore`: a copy of the store while it runs; what it holds, again."""

import json
from pathlib import Path

import click

from tallystick.gateway import backup as backups
from tallystick.gateway import config as configs
from tallystick.gateway.importing import take_in
from tallystick.tools._progress import progress
from tallystick.tools.gateway_common import CONFIG, JSON


@click.command(
    epilog="""\b
Examples:
  tally gateway backup --config gateway.toml --to /backup/gw-1.sqlite
  tally gateway backup --config gateway.toml --to "/backup/gw-1-$(date +%F).sqlite" --json
""",
    short_help="Copy the store while the gateway runs.",
)
@CONFIG
@JSON
@click.option(
    "--to",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write; one that is there is never overwritten.",
)
def backup(path: Path, to: Path, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """Copy the store, whole as of one moment, while the gateway runs.

    No gateway goes on with a copy: `tally gateway restore` brings what it holds to another one.
    """
    store = configs.load(path).store
    with progress(f"pages of {to}") as told:
        segments = backups.backup(store, to, lambda left, total: told(total - left, total))
    size = to.stat().st_size
    if as_json:
        click.echo(json.dumps({"to": str(to), "segments": segments, "bytes": size}))
    else:
        click.echo(f"{to}: {segments:,} segments, {size:,} bytes")


@click.command(
    epilog="""\b
Examples:
  tally fleet enroll acme gw-2 --kind gateway --broker mqtts://broker.acme.example
  tally gateway restore /backup/gw-1.sqlite --config acme/gateways/gw-2/gateway.toml
""",
    short_help="Bring what a backup holds to another gateway.",
)
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@CONFIG
@JSON
def restore(source: Path, path: Path, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Take everything that a backup holds into another gateway's store, which does not run.

    Each segment is verified and logged as if it came from its device, under the new gateway's key.
    Called again, or after devices sent a part of it, it adds what is lacking.
    """
    with progress(f"messages of {source}") as told:
        done = take_in(configs.load(path), backups.messages(source), told)
    refused = {reason: count for reason, count in done.refused.items() if reason != "replayed"}
    if as_json:
        click.echo(json.dumps({"segments": done.segments, "refused": done.refused}))
    else:
        known = done.refused.get("replayed", 0)
        click.echo(f"{done.segments:,} segments taken, {known:,} were known")
        for reason, count in sorted(refused.items()):
            click.echo(f"{count:,} refused: {reason}")
    if refused:
        raise click.exceptions.Exit(1)
