"""`tally doctor`: look at a gateway's site, and name each risk with what to do."""

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tallystick.gateway import check as checks
from tallystick.gateway import config as configs
from tallystick.gateway.checkfiles import is_here
from tallystick.gateway.config import Config
from tallystick.tools._screen import screen
from tallystick.tools.doctor import brokerconf, brokerprobe, certificates, machine, validators
from tallystick.tools.doctor.findings import (
    BAD,
    GOOD,
    NOT_CHECKED,
    RISK,
    Finding,
    bad,
    good,
    looked,
)

_COLOURS = {GOOD: "green", RISK: "yellow", BAD: "red", NOT_CHECKED: "cyan"}
# The doctor looks closer at these.
_SEEN_CLOSER = ("broker", "validator ")


@click.command(
    epilog="""\b
Examples:
  tally doctor --config gateway.toml
  tally doctor --config gateway.toml --broker-conf /etc/mosquitto/mosquitto.conf
  tally doctor --config gateway.toml --json
  tally doctor --broker-conf /etc/mosquitto/mosquitto.conf   where only the broker is
"""
)
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("gateway.toml"),
    show_default=True,
    help="The gateway's TOML file.",
)
@click.option(
    "--broker-conf",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The broker's configuration; that of the Mosquitto on this machine unless given.",
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def doctor(path: Path, broker_conf: Path | None, as_json: bool) -> None:  # noqa: FBT001 - click
    """Look at clock, disk, broker, certificates and validators, and say what to do for each.

    Changes nothing; the gateway may run. Exit code 0 when everything is good or was not to be seen,
    1 when something is a risk or bad.
    """
    if not path.exists() and broker_conf is not None:
        found = looked("broker's file", lambda: brokerconf.look(0, broker_conf), "correct it")
    else:
        found = examine(configs.load(path), broker_conf)
    well = not any(item.level in {RISK, BAD} for item in found)
    if as_json:
        rows = [
            {
                "check": item.name,
                "level": item.level,
                "found": item.found,
                "what_to_do": item.what_to_do,
            }
            for item in found
        ]
        click.echo(json.dumps({"good": well, "checks": rows}))
    else:
        _show(screen(), found)
    sys.exit(0 if well else 1)


def examine(config: Config, broker_conf: Path | None = None) -> list[Finding]:
    """Everything that can be seen from here."""
    folder = (config.source or config.store).parent
    broker = config.broker
    return [
        *_checks(config),
        *machine.clock(),
        *looked("disk", lambda: machine.disk(config.store.parent), "see the file system"),
        *certificates.look(config),
        *looked(
            "broker", lambda: brokerprobe.look(broker, folder), "start it, or correct broker.url"
        ),
        *_broker_file(config, broker_conf),
        *validators.look(config),
    ]


def _checks(config: Config) -> list[Finding]:
    """What `tally gateway check` sees, but for what is looked at closer here."""
    return [
        good(item.name, item.found) if item.good else bad(item.name, item.found, item.what_to_do)
        for item in checks.check(config)
        if not item.name.startswith(_SEEN_CLOSER) or not item.good
    ]


def _broker_file(config: Config, given: Path | None) -> list[Finding]:
    if given is None and not is_here(config.broker.host):
        return brokerconf.unseen(f"{config.broker} is another machine")
    return looked(
        "broker's file", lambda: brokerconf.look(config.broker.port, given), "correct the file"
    )


def _show(console: Console, found: list[Finding]) -> None:
    table = Table()
    for column in ("looked at", "", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for item in found:
        mark = f"[{_COLOURS[item.level]}]{item.level}[/]"
        table.add_row(_plain(item.name), mark, _plain(item.found), _plain(item.what_to_do))
    console.print(table)
    for level in (BAD, RISK, NOT_CHECKED):
        names = [item.name for item in found if item.level == level]
        if names:
            console.print(f"{level}: {', '.join(names)}", markup=False)


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
