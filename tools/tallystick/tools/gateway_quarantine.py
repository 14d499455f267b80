"""`tally gateway quarantine`: what is set aside, damaged or poison; have it tried again."""

import json
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from tallystick.evidence.errors import CouldNotCheck, Malformed
from tallystick.gateway import config as configs
from tallystick.gateway import quarantine as quarantined
from tallystick.gateway.store import VERSION, open_reader, operator_write
from tallystick.tools._screen import screen
from tallystick.tools.gateway_common import CONFIG, JSON, plain, when


@click.group(
    epilog="""\b
Examples:
  tally gateway quarantine list --config gateway.toml
  tally gateway quarantine show validator:insurer:4711 --config gateway.toml
  tally gateway quarantine retry --all --config gateway.toml
  tally gateway quarantine export damaged:4711 bytes.segment --config gateway.toml
""",
    short_help="What is set aside, damaged or poison; try it again.",
)
def quarantine() -> None:
    """Show what is set aside, damaged or poison, and have it tried again; works while it runs.

    docs/durability.md, section 5, says what happens by itself. Nothing here deletes anything.
    """


def _read(path: Path, name: str | None = None) -> tuple[list[dict[str, Any]], int, bytes]:
    # Everything and how much there is in all, or one entry and its bytes.
    store = configs.load(path).store
    connection = open_reader(store)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            raise CouldNotCheck(
                "bad-value", f"{store}: start the gateway once, its store is of an older version"
            )
        if name is None:
            count = sum(quarantined.counts(connection).values())
            return quarantined.entries(connection), count, b""
        return [quarantined.entry(connection, name)], 1, quarantined.data(connection, name)
    finally:
        connection.close()


@quarantine.command(
    "list",
    epilog="""\b
Examples:
  tally gateway quarantine list --config gateway.toml
  tally gateway quarantine list --config gateway.toml --json
""",
)
@CONFIG
@JSON
def list_(path: Path, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """List what is in quarantine: why, how often it was tried, and when it is tried again."""
    found, count, _ = _read(path)
    if as_json:
        click.echo(json.dumps(found))
        return
    if not found:
        click.echo("nothing is in quarantine")
        return
    table = Table()
    for column in ("id", "reason", "device", "since", "tries", "next"):
        table.add_column(column, overflow="fold")
    for row in found:
        since, tries = when(row["since_ms"]), f"{row['tries']:,}"
        device = row.get("device", "")
        table.add_row(row["id"], plain(row["reason"]), device, since, tries, _next(row))
    screen().print(table)
    if count > len(found):
        click.echo(f"{count - len(found):,} more; `retry --all` takes them all")


def _next(row: dict[str, Any]) -> str:
    if row["next_ms"] is None:
        return "at a start" if row["state"] == "poison" else "when its bytes are here"
    return "now" if row["next_ms"] == 0 else when(row["next_ms"])


@quarantine.command(
    epilog="""\b
Example:
  tally gateway quarantine show damaged:4711 --config gateway.toml
"""
)
@click.argument("name", metavar="ID")
@CONFIG
@JSON
def show(name: str, path: Path, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """Show all that is known of one entry."""
    (row,), _, _ = _read(path, name)
    if as_json:
        click.echo(json.dumps(row))
        return
    for key, value in row.items():
        shown = when(value) if key.endswith("_ms") and value else value
        screen().print(f"{key.replace('_', ' ')}: {plain(str(shown))}", highlight=False)


@quarantine.command(
    epilog="""\b
Examples:
  tally gateway quarantine retry validator:insurer:4711 --config gateway.toml
  tally gateway quarantine retry --all --config gateway.toml
"""
)
@click.argument("name", metavar="ID", required=False)
@click.option("--all", "everything", is_flag=True, help="Of all that is in quarantine.")
@CONFIG
@JSON
def retry(name: str | None, everything: bool, path: Path, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Have it tried at once: sent to its validator, asked of its device, or handled again.

    The gateway does it within seconds, or at its next start.
    """
    if everything == (name is not None):
        message = "give an id, or --all"
        raise click.UsageError(message)
    with operator_write(configs.load(path).store) as connection:
        count = quarantined.retry(connection, name)
    click.echo(json.dumps({"retried": count}) if as_json else f"{count} to be tried again")


@quarantine.command(
    epilog="""\b
Example:
  tally gateway quarantine export damaged:4711 bytes.segment --config gateway.toml
"""
)
@click.argument("name", metavar="ID")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@CONFIG
@JSON
def export(name: str, file: Path, path: Path, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Write an entry's bytes, as they are stored, into a new file; it stays where it is."""
    _, _, data = _read(path, name)
    try:
        with file.open("xb") as out:
            out.write(data)
    except FileExistsError as error:
        raise Malformed("bad-value", f"{file} is there already") from error
    except OSError as error:
        raise CouldNotCheck("bad-value", f"{file}: {error.strerror}") from error
    if as_json:
        click.echo(json.dumps({"id": name, "file": str(file), "bytes": len(data)}))
    else:
        click.echo(f"{len(data):,} bytes; `tally inspect {file}` shows what can be read of them")
