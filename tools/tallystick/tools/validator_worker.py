"""`tally validator worker`: a process that helps a validator whose store is on PostgreSQL."""

import os
import sys
from pathlib import Path

import click

from tallystick.evidence.errors import Malformed
from tallystick.hw import foreignlogs
from tallystick.tools._interrupt import until_signalled
from tallystick.validator import config as configs
from tallystick.validator import logs
from tallystick.validator.collecting import collect_seldom
from tallystick.validator.ingestduty import IngestDuty
from tallystick.validator.place import Server
from tallystick.validator.reconcileduty import ReconcileDuty
from tallystick.validator.workers import Duty, Worker


def command(path: Path) -> list[str]:
    """What `tally validator run` starts for each of its workers; it ends with this process."""
    main = "from tallystick.tools.main import main; main()"
    under = str(os.getpid())
    return [
        *(sys.executable, "-c", main, "validator", "worker"),
        *("--config", str(path.resolve()), "--under", under),
    ]


@click.command(
    epilog="""\b
Examples:
  tally validator worker --config validator.toml
  tally validator worker --config validator.toml --reconcile
""",
    short_help="Help a validator on PostgreSQL; any number may run.",
)
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("validator.toml"),
    show_default=True,
    help="The validator's TOML file.",
)
@click.option("--reconcile", is_flag=True, help="Compute findings, and nothing else.")
@click.option("--ingest", is_flag=True, help="Verify batches that wait, and nothing else.")
@click.option("--under", type=int, hidden=True, help="The process that started it.")
def worker(path: Path, reconcile: bool, ingest: bool, under: int | None) -> None:  # noqa: FBT001
    """Help a validator whose store is on PostgreSQL, until Ctrl-C or SIGTERM.

    A worker opens no key and signs nothing. Any number may run, on any machine that reaches the
    database; whichever is killed or stopped, another one, or the validator itself, does its work.
    """
    config = configs.load(path)
    if not isinstance(config.store, Server):
        raise Malformed("bad-value", f"{path}: a store in a file has one process, and no workers")
    logs.configure()
    foreignlogs.take()
    collect_seldom()
    duties: list[Duty] = []
    if reconcile or not ingest:
        duties.append(ReconcileDuty())
    if ingest or not reconcile:
        duties.append(IngestDuty())
    Worker(config.store, duties, until_signalled()).run(under)
