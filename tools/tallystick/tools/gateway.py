"""`tally gateway`: run a gateway, check its configuration, show what it did."""

import faulthandler
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from tallystick.gateway import check as checks
from tallystick.gateway import config as configs
from tallystick.gateway import logs, service
from tallystick.gateway import status as statuses
from tallystick.hw import foreignlogs
from tallystick.tools._ending import end_at_once, standstill_ends
from tallystick.tools._interrupt import on_hangup, until_signalled
from tallystick.tools._notify import Notifier
from tallystick.tools._screen import screen
from tallystick.tools.brokerfiles.cli import broker_config
from tallystick.tools.gateway_backup import backup, restore
from tallystick.tools.gateway_common import CONFIG, JSON, plain, when
from tallystick.tools.gateway_drain import drain
from tallystick.tools.gateway_export import export
from tallystick.tools.gateway_import import import_
from tallystick.tools.gateway_quarantine import quarantine

WAIT_S_MAX = 600.0
LOOK_AGAIN_S = 0.5


@click.group(
    epilog="""\b
Examples:
  tally fleet enroll acme gw-1 --kind gateway --broker mqtt://127.0.0.1:1883
  tally gateway check --config acme/gateways/gw-1/gateway.toml
  tally gateway run --config acme/gateways/gw-1/gateway.toml
  tally gateway status --config acme/gateways/gw-1/gateway.toml
"""
)
def gateway() -> None:
    """Run, check and watch a gateway."""


gateway.add_command(backup)
gateway.add_command(broker_config)
gateway.add_command(quarantine)
gateway.add_command(import_)
gateway.add_command(drain)
gateway.add_command(export)
gateway.add_command(restore)


@gateway.command(
    epilog="""\b
Example:
  tally gateway run --config gateway.toml
""",
    short_help="Take records into custody and forward them.",
)
@CONFIG
def run(path: Path) -> None:
    """Take devices' records into custody and forward them, until Ctrl-C or SIGTERM.

    SIGHUP reads the file again: what can change without a restart changes, or nothing does. Exit
    code 70 when a thread hangs that cannot be repaired: start it again, nothing is lost.
    """
    config = configs.load(path)
    logs.configure()
    foreignlogs.take()
    # What hangs is ended by the watchdog's SIGABRT: where each thread was is worth knowing.
    faulthandler.enable()
    stop = until_signalled()
    with standstill_ends() as turns:
        told = _Told(turns)
        try:
            service.run(config, stop, told.ready, told.alive, on_hangup(), end_at_once)
        finally:
            told.stopping()


class _Told:
    """What systemd is told of a gateway: that it is ready, that it lives, what its state is."""

    def __init__(self, turns: Callable[[], None]) -> None:
        """turns: called as often as it lives."""
        self._turns = turns
        self._manager = Notifier()
        self._gateway: service.Gateway | None = None
        self._said = ""

    def ready(self, gateway: service.Gateway) -> None:
        """It has started."""
        self._gateway = gateway
        self._said = self._state(gateway)
        self._manager.ready(self._said)

    def alive(self) -> None:
        """Everything that must run runs."""
        self._turns()
        self._manager.alive()
        said = "" if self._gateway is None else self._state(self._gateway)
        if said != self._said:
            self._said = said
            self._manager.status(said)

    def stopping(self) -> None:
        """It is about to end."""
        self._manager.stopping()

    def _state(self, gateway: service.Gateway) -> str:
        error = gateway.reloading.error
        if error:
            return f"the file on disk is not in force: {error}"
        page = "" if gateway.page is None else f", page {gateway.page.url}"
        return f"gateway {gateway.config.name}{page}"


@gateway.command(
    epilog="""\b
Examples:
  tally gateway check --config gateway.toml
  tally gateway check --config gateway.toml --json
  tally gateway check --config gateway.toml --wait 10   where services only start
""",
    short_help="Check keys, roots, store, broker and validators.",
)
@CONFIG
@JSON
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, WAIT_S_MAX),
    default=0.0,
    show_default=True,
    help="Seconds to look again while something is bad.",
)
def check(path: Path, as_json: bool, wait_s: float) -> None:  # noqa: FBT001 - click passes flags by name
    """Check keys, credential, roots, store, broker and validators; changes nothing.

    Exit code 0 when everything is good, else 1.
    """
    found = _checked(configs.load(path), wait_s)
    good = all(item.good for item in found)
    if as_json:
        rows = [
            {
                "check": item.name,
                "good": item.good,
                "found": item.found,
                "what_to_do": item.what_to_do,
            }
            for item in found
        ]
        click.echo(json.dumps({"good": good, "checks": rows}))
    else:
        screen().print(str(path), markup=False)
        screen().print(_findings(found, good=good))
    sys.exit(0 if good else 1)


def _checked(config: configs.Config, wait_s: float) -> list[checks.Check]:
    end = time.monotonic() + wait_s
    while True:
        found = checks.check(config)
        if all(item.good for item in found) or time.monotonic() >= end:
            return found
        time.sleep(LOOK_AGAIN_S)


def _findings(found: list[checks.Check], *, good: bool) -> Table:
    table = Table()
    for column in ("check", "", "found", *(() if good else ("what to do",))):
        table.add_column(column, overflow="fold")
    for item in found:
        mark = "[green]good[/]" if item.good else "[red]bad[/]"
        row = [item.name, mark, plain(item.found)]
        table.add_row(*row, *(() if good else (plain(item.what_to_do),)))
    return table


@gateway.command(
    epilog="""\b
Examples:
  tally gateway status --config gateway.toml
  tally gateway status --config gateway.toml --json
""",
    short_help="Show counts, refusals, and each validator's place.",
)
@CONFIG
@JSON
def status(path: Path, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """Show counts, refusals by reason, and each validator's place; works while it runs."""
    found = statuses.status(configs.load(path))
    if as_json:
        click.echo(json.dumps(found))
        return
    console = screen()
    console.print(f"gateway {found['name']}, {found['gateway']}", markup=False)
    console.print(_counts(found))
    _process(console, found["process"])
    _durability(console, found)
    if found["process"].get("serial"):
        console.print(_ports(found["process"]["serial"]))
    _join(console, found)
    if found["refused"]:
        console.print(_refusals(found["refused"]))
    if found["validators"]:
        console.print(_validators(found["validators"]))
        _quotas(console, found["validators"])
    _circle(console, found["process"].get("circle", []))
    for item in found["suspect"]:
        console.print(f"[red]suspect[/] {item['device']}: {item['reason']}")
    for item in found["began_late"]:
        console.print(
            f"of {item['device']} (epoch {item['epoch']}) the records from {item['from']} to "
            f"{item['to']} are here without those before them"
        )


def _process(console: Console, state: dict[str, Any]) -> None:
    if not state:
        return
    link = "connected to the broker" if state["connected"] else "not connected to the broker"
    console.print(link if state["running"] else "stopped")
    if state["error"]:
        console.print(f"[red]{plain(state['error'])}[/]")
    if state.get("reload_error"):
        console.print(f"[red]the file on disk is not in force: {plain(state['reload_error'])}[/]")
    for name, says in (
        ("not_taken", "messages without QoS 1 found no room and were not taken"),
        ("not_sent_down", "messages to devices found no room and were not sent"),
        ("clients_replaced", "times a hanging MQTT client was replaced"),
        ("parked_dropped", "parked segments of devices that another gateway serves were dropped"),
    ):
        if state.get(name):
            console.print(f"{state[name]:,} {says}")
    verify = state.get("verify")
    if verify:
        console.print(
            f"verifying processes: {verify['running']} of {verify['workers']}; segments verified "
            f"ahead {verify['used']:,}, not in time {verify['late']:,}; processes replaced "
            f"{verify['replaced']:,}"
        )


def _durability(console: Console, found: dict[str, Any]) -> None:
    store = found["process"].get("store")
    if store:
        line = f"store: {store['used']:,} of {store['allowed']:,} bytes ({store['bound']})"
        if store["level"] != "ok":
            line += f", [red]{store['level']}[/] since {when(store['since_ms'])}"
        console.print(line)
    if found["holds"]:
        names = [row["name"] + (f" ({row['why']})" if row["why"] else "") for row in found["holds"]]
        console.print(f"on hold: {', '.join(names)}; nothing is pruned", markup=False)
    kept = {state: count for state, count in found["quarantine"].items() if count}
    if kept:
        shown = ", ".join(f"{count:,} {state}" for state, count in kept.items())
        console.print(f"in quarantine: {shown}; see `tally gateway quarantine list`", markup=False)


def _join(console: Console, found: dict[str, Any]) -> None:
    counts = found["join"]
    door = found["process"].get("join")
    if door is None and not any(counts.values()):
        return
    where = f" at {door['url']}" if door and found["process"]["running"] else ""
    waiting, codes = counts["waiting"], counts["codes"]
    console.print(
        f"join door{where}: {waiting:,} wait, {counts['answered']:,} were let in, "
        f"{codes:,} codes are valid",
        markup=False,
    )
    if waiting:
        console.print("let them in with `tally fleet approve`", markup=False)


def _ports(ports: list[dict[str, Any]]) -> Table:
    table = Table(title="serial ports", title_justify="left")
    counts = ("devices", "messages", "frames", "bad_frames", "resyncs", "repeated", "sent_again")
    for column in ("port", "state", *counts):
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in ports:
        state = "in session" if row["session"] else "open" if row["open"] else "away"
        shown = f"{state}: {plain(row['error'])}" if row["error"] else state
        table.add_row(plain(row["port"]), shown, *(f"{row.get(name, 0):,}" for name in counts))
    return table


def _counts(found: dict[str, Any]) -> Table:
    table = Table()
    table.add_column("what")
    table.add_column("count", justify="right")
    for name in (
        "devices",
        "logs",
        "segments",
        "records",
        "pruned",
        "stored_bytes",
        "parked_segments",
        "parked_bytes",
        "custody_receipts",
        "forks",
    ):
        table.add_row(name.replace("_", " "), f"{found[name]:,}")
    return table


def _refusals(refused: dict[str, dict[str, Any]]) -> Table:
    table = Table(title="refused", title_justify="left")
    for column in ("reason", "count", "last", "message"):
        table.add_column(column, overflow="fold")
    for reason, row in refused.items():
        table.add_row(reason, f"{row['count']:,}", when(row["last_ms"]), plain(row["message"]))
    return table


def _validators(validators: list[dict[str, Any]]) -> Table:
    table = Table(title="validators", title_justify="left")
    for column in ("name", "has", "lag", "receipts", "set aside", "verdicts", "answered", "error"):
        table.add_column(column, overflow="fold")
    for row in validators:
        verdicts = "\n".join(f"{count} {state}" for state, count in row["verdicts"].items())
        table.add_row(
            row["name"],
            f"{row['cursor']:,}",
            f"{row['lag']:,}",
            f"{row['receipts']:,}",
            f"{row['set_aside']:,}",
            verdicts,
            when(row["answered_ms"]),
            plain(_trouble(row)),
        )
    return table


def _trouble(row: dict[str, Any]) -> str:
    error, circuit = row["error"] or "", row["circuit"]
    return error if circuit in {None, "closed"} else f"{error} (circuit {circuit})"


def _quotas(console: Console, validators: list[dict[str, Any]]) -> None:
    now_ms = time.time_ns() // 1_000_000
    for row in validators:
        for said in row["quotas"]:
            if said["until_ms"] <= now_ms:
                continue
            console.print(
                f"{row['name']} takes no more of the {said['holder']} {said['key']} until "
                f"{when(said['until_ms'])}: {said['quota']} is {said['limit']:,}",
                markup=False,
            )
        if row["held"]:
            console.print(f"{row['held']:,} segments wait for {row['name']}", markup=False)


def _circle(console: Console, peers: list[dict[str, Any]]) -> None:
    for peer in peers:
        end = peer["valid_until_s"]
        until = "" if end is None else f" until {when(end * 1000)}"
        console.print(f"peer {plain(peer['name'])}: {peer['state']}{until}")
        if peer["problem"]:
            console.print(f"[red]its newest file changes nothing: {plain(peer['problem'])}[/]")
