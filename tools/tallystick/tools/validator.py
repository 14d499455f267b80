"""`tally validator`: run a validator, check its configuration."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from tallystick.hw import foreignlogs
from tallystick.tools._interrupt import until_signalled
from tallystick.tools._notify import Notifier
from tallystick.tools.validator_hold import hold
from tallystick.tools.validator_worker import command, worker
from tallystick.validator import check as checks
from tallystick.validator import config as configs
from tallystick.validator import logs, service
from tallystick.validator.collecting import collect_seldom
from tallystick.validator.crew import Crew

CONFIG = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("validator.toml"),
    show_default=True,
    help="The validator's TOML file.",
)


@click.group(
    epilog="""\b
Examples:
  tally fleet enroll acme notary --kind validator
  tally validator check --config acme/validators/notary/validator.toml
  tally validator run --config acme/validators/notary/validator.toml
"""
)
def validator() -> None:
    """Run and check a validator."""


@validator.command(
    epilog="""\b
Example:
  tally validator run --config validator.toml
""",
    short_help="Take batches, log, reconcile and sign verdicts.",
)
@CONFIG
def run(path: Path) -> None:
    """Take batches, log, reconcile and sign verdicts, until Ctrl-C or SIGTERM."""
    config = configs.load(path)
    logs.configure()
    foreignlogs.take()
    collect_seldom()
    stop = until_signalled()
    manager = Notifier()

    def ready(url: str) -> None:
        click.echo(f"validator {config.name} listens on {url}", err=True)
        manager.ready(f"listens on {url}")

    try:
        with Crew(command(path), config.workers):
            service.run(
                config,
                stop,
                ready,
                stands_by=lambda: manager.ready("stands by: another process sequences the log"),
                alive=manager.alive,
            )
    finally:
        manager.stopping()


@validator.command(
    epilog="""\b
Examples:
  tally validator check --config validator.toml
  tally validator check --config validator.toml --json
"""
)
@CONFIG
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def check(path: Path, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """Check keys, roots, profiles, store and readers; changes nothing.

    Exit code 0 when everything is good, else 1.
    """
    found = checks.check(configs.load(path))
    good = all(one.good for one in found)
    if as_json:
        click.echo(json.dumps({"good": good, "checks": [asdict(one) for one in found]}))
    else:
        for one in found:
            click.echo(f"{'good ' if one.good else 'WRONG'}  {one.name:<9} {one.found}")
    if not good:
        sys.exit(1)


validator.add_command(hold)
validator.add_command(worker)
