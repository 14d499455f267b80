"""`tally hold`: for an incident, stop pruning at a gateway and its devices; end that; list."""

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from tallystick.evidence.keys import device_text
from tallystick.gateway import config as configs
from tallystick.gateway import devicehold, holds, limits
from tallystick.gateway.exporting import devices_named
from tallystick.gateway.store import VERSION, open_reader, operator_write
from tallystick.tools._screen import screen
from tallystick.tools.gateway_common import CONFIG, JSON, plain, when


@click.command(
    epilog="""\b
Examples:
  tally hold dock-collision --why "claim 7 of 3 May" --config gateway.toml
  tally hold dock-collision --device R-7 --device R-9 --config gateway.toml
  tally hold --list --config gateway.toml
  tally hold --end dock-collision --config gateway.toml
""",
    short_help="Stop pruning at a gateway and its devices, for an incident.",
)
@click.argument("name", required=False)
@click.option("--why", default="", help="A line for whoever wonders later.")
@click.option("--device", "names", multiple=True, help="An id or asset tag, repeatable; all.")
@click.option("--gateway-only", is_flag=True, help="Let devices free what is in custody.")
@click.option("--end", is_flag=True, help="End the hold of this name.")
@click.option("--list", "listed", is_flag=True, help="Show all holds; changes nothing.")
@CONFIG
@JSON
def hold(
    name: str | None,
    why: str,
    names: tuple[str, ...],
    gateway_only: bool,  # noqa: FBT001 - click passes flags by name
    end: bool,  # noqa: FBT001
    listed: bool,  # noqa: FBT001
    path: Path,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Stop all pruning at a gateway, and freeing at its devices, until the hold is ended.

    At the gateway it counts when the command returns, running or not. Devices learn of it from the
    running gateway, by a signed statement; --list says which of them know. It reaches no other
    gateway; `tally validator hold` keeps what is at a validator.
    """
    if listed == (name is not None) or (end and listed):
        message = "give a name, or --list"
        raise click.UsageError(message)
    if (names and gateway_only) or ((names or gateway_only) and (end or listed)):
        message = "--device and --gateway-only say whom a new hold reaches: one of them"
        raise click.UsageError(message)
    if len(names) > limits.HOLD_DEVICES_MAX:
        message = f"at most {limits.HOLD_DEVICES_MAX:,} --device; without any it reaches all"
        raise click.UsageError(message)
    config = configs.load(path)
    if name is None:
        _list(config.store, as_json=as_json)
        return
    reached = holds.ALL
    if names:
        reached = " ".join(map(device_text, devices_named(config, names)))
    elif gateway_only:
        reached = ""
    with operator_write(config.store) as connection:
        if end:
            holds.end(connection, name)
        else:
            holds.begin(connection, name, why, reached)
        left = sum(row["ended_ms"] is None for row in holds.known(connection))
    if as_json:
        click.echo(json.dumps({"name": name, "in_force": not end, "holds": left}))
    elif end:
        after = "pruning goes on" if not left else f"{left} others are in force"
        click.echo(f"the hold {name} is ended; {after}")
    else:
        whom = {"": "no device is told", holds.ALL: "all devices are told"}
        told = whom.get(reached, f"{len(reached.split()):,} devices are told")
        click.echo(
            f"the hold {name} is in force; nothing is pruned at this gateway, and {told}"
            + ("" if gateway_only else ": `tally hold --list` says which know of it")
        )


def _list(store: Path, *, as_json: bool) -> None:
    connection = open_reader(store)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        found = holds.known(connection) if version == VERSION else []
        told = devicehold.told(connection) if version == VERSION else {}
    finally:
        connection.close()
    if as_json:
        click.echo(json.dumps({"holds": found, "devices": told}))
        sys.exit(0)
    if not found:
        click.echo("no holds")
        return
    table = Table()
    for column in ("hold", "why", "devices", "since", "ended"):
        table.add_column(column, overflow="fold")
    for row in found:
        ended = "in force" if row["ended_ms"] is None else when(row["ended_ms"])
        table.add_row(row["name"], plain(row["why"]), _reach(row), when(row["since_ms"]), ended)
    screen().print(table)
    click.echo(
        f"{told['held']:,} devices hold, {told['waiting']:,} have not said yet that they know, "
        f"{told['released']:,} were released"
    )
    begun = any(row["ended_ms"] is None and row["devices"] for row in found)
    if begun and not told["held"] + told["waiting"]:
        click.echo("no device was told yet: the running gateway does that, within a minute")
    for row in told["waiting_for"]:
        click.echo(f"not heard of yet, to {row['to']}: {row['device']}")


def _reach(row: dict[str, Any]) -> str:
    if row["devices"] == "all":
        return "all"
    return f"{len(row['devices']):,}" if row["devices"] else "none"
