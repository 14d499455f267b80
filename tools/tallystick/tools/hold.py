"""`tally hold`: for an incident, stop a gateway from pruning; end that; list what is in force."""

import json
import sys
from pathlib import Path

import click
from rich.table import Table

from tallystick.gateway import config as configs
from tallystick.gateway import holds
from tallystick.gateway.store import VERSION, open_reader, operator_write
from tallystick.tools._screen import screen
from tallystick.tools.gateway_common import CONFIG, JSON, plain, when


@click.command(
    epilog="""\b
Examples:
  tally hold dock-collision --why "claim 7 of 3 May" --config gateway.toml
  tally hold --list --config gateway.toml
  tally hold --end dock-collision --config gateway.toml
""",
    short_help="Stop a gateway from pruning, for an incident.",
)
@click.argument("name", required=False)
@click.option("--why", default="", help="A line for whoever wonders later.")
@click.option("--end", is_flag=True, help="End the hold of this name.")
@click.option("--list", "listed", is_flag=True, help="Show all holds; changes nothing.")
@CONFIG
@JSON
def hold(
    name: str | None,
    why: str,
    end: bool,  # noqa: FBT001 - click passes flags by name
    listed: bool,  # noqa: FBT001
    path: Path,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Stop all pruning at a gateway until the hold is ended; it may run or not.

    A hold counts when the command returns. It reaches neither other gateways nor devices, which
    free what this gateway has in custody; `tally validator hold` keeps what is at a validator.
    """
    if listed == (name is not None) or (end and listed):
        message = "give a name, or --list"
        raise click.UsageError(message)
    store = configs.load(path).store
    if name is None:
        _list(store, as_json=as_json)
        return
    with operator_write(store) as connection:
        if end:
            holds.end(connection, name)
        else:
            holds.begin(connection, name, why)
        left = sum(row["ended_ms"] is None for row in holds.known(connection))
    if as_json:
        click.echo(json.dumps({"name": name, "in_force": not end, "holds": left}))
    elif end:
        after = "pruning goes on" if not left else f"{left} others are in force"
        click.echo(f"the hold {name} is ended; {after}")
    else:
        click.echo(f"the hold {name} is in force; nothing is pruned at this gateway")


def _list(store: Path, *, as_json: bool) -> None:
    connection = open_reader(store)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        found = holds.known(connection) if version == VERSION else []
    finally:
        connection.close()
    if as_json:
        click.echo(json.dumps(found))
        sys.exit(0)
    if not found:
        click.echo("no holds")
        return
    table = Table()
    for column in ("hold", "why", "since", "ended"):
        table.add_column(column, overflow="fold")
    for row in found:
        ended = "in force" if row["ended_ms"] is None else when(row["ended_ms"])
        table.add_row(row["name"], plain(row["why"]), when(row["since_ms"]), ended)
    screen().print(table)
