"""`tally device provision`: a board gets its key, its enrolment and its configuration."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tallystick.hw import boards
from tallystick.tools import brokertls, fleetdir
from tallystick.tools import provision as configurations
from tallystick.tools.device import ports, provisioning, wifi
from tallystick.tools.device.provisioning import Wanted
from tallystick.tools.fleet_enroll import pair
from tallystick.tools.fleetdir import Fleet

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command(
    epilog="""\b
Examples:
  tally device provision acme robot-1 --broker mqtt://10.0.0.2:1883 --dry-run
  tally device provision acme robot-1 --broker mqtt://10.0.0.2:1883 --wifi-ssid plant
  tally device provision acme robot-2 --key 'atecc608:board=esp32-s3' --detail asset_tag=A-0002
  tally device provision acme robot-3 --broker mqtts://broker --tls-ca ca.pem --tls-ca-key ca.key
""",
    short_help="Enrol a board and write its configuration.",
)
@click.argument("folder", type=FOLDER)
@click.argument("label")
@ports.port_options
@click.option(
    "--key",
    "key_uri",
    metavar="URI",
    help="Where the key is made, on the board; else as its configuration says, else a file in its "
    "flash.",
)
@click.option(
    "--as-software",
    is_flag=True,
    help="Enrol the key as software, whatever its evidence shows or does not.",
)
@click.option("--detail", "details", multiple=True, metavar="NAME=TEXT", help="Signed, repeatable.")
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="SYSTEM=NAME",
    help="Its name in another system (vda5050, openrmf), signed, repeatable.",
)
@click.option("--interval", "interval_s", default=fleetdir.INTERVAL_S, show_default=True,
              help="Seconds between two checkpoints at most, also when idle.")  # fmt: skip
@click.option("--valid-days", default=fleetdir.VALID_DAYS, show_default=True,
              help="How long the enrolment is valid.")  # fmt: skip
@click.option(
    "--broker",
    default="mqtt://127.0.0.1:1883",
    show_default=True,
    help="Where its records go: mqtt://, mqtts:// or serial:.",
)
@click.option("--namespace", help="Where interactions take place; the fleet's name unless given.")
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    default=("handover",),
    show_default=True,
    help="A packaged profile or a TOML file, repeatable.",
)
@brokertls.options
@click.option("--wifi-ssid", metavar="NAME", help="The WiFi that the board's program joins.")
@click.option(
    "--wifi-password-file",
    type=FILE,
    help="A file (mode 0600) with its password; else TALLY_WIFI_PASSWORD, else you are asked.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=JSON", help="Another setting, repeatable."
)
@click.option(
    "--yes-serial",
    metavar="SERIAL",
    help="For scripts: the serial number of a new secure element, instead of typing it.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def provision(**given: Any) -> None:
    """Have a board make its key, enrol it as LABEL, and write its configuration.

    The key is made on the board and never leaves it. What was done before is not done again: the
    same board keeps its key and its id, and an interrupted run is gone on with. At the end the
    board opens its recorder and says who it is.
    """
    _Given(**given).run()


@dataclass
class _Given:
    """What the command line says."""

    folder: Path
    label: str
    port: str | None
    board: str | None
    key_uri: str | None
    as_software: bool
    details: tuple[str, ...]
    names: tuple[str, ...]
    interval_s: int
    valid_days: int
    broker: str
    namespace: str | None
    profiles: tuple[str, ...]
    tls_ca: Path | None
    tls_ca_key: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    wifi_ssid: str | None
    wifi_password_file: Path | None
    settings: tuple[str, ...]
    yes_serial: str | None
    dry_run: bool
    as_json: bool

    def run(self) -> None:
        """Check what was given, then do it on the board."""
        fleet = Fleet.open(self.folder)
        click.get_current_context().call_on_close(fleet.close)
        wanted = self._wanted(fleet)
        port = ports.choose(self.port, self.board)

        def say(line: str) -> None:
            click.echo(line, err=self.as_json)

        made = provisioning.Provisioning(fleet, wanted, port, self.board, say, self.typed)
        done = made.plan() if self.dry_run else made.run()
        if self.as_json:
            click.echo(json.dumps(done))
        elif self.dry_run:
            click.echo("nothing was done (--dry-run)")

    def typed(self, serial: str) -> str:
        """The serial number of a secure element whose locks cannot be undone."""
        if self.yes_serial is not None:
            return self.yes_serial
        question = f"type the serial number of the secure element ({serial}) to lock it"
        answer: str = click.prompt(question, err=True)
        return answer

    def _wanted(self, fleet: Fleet) -> Wanted:
        details: dict[str, Any] = dict(pair(text, "--detail") for text in self.details)
        if self.names:
            details["names"] = dict(pair(text, "--name") for text in self.names)
        return Wanted(
            label=self.label,
            key=None if self.key_uri is None else boards.expand(self.key_uri),
            as_software=self.as_software,
            details=details,
            interval_s=self.interval_s,
            valid_days=self.valid_days,
            uplink=self.broker,
            namespace=self.namespace or fleet.name,
            profiles=configurations.packaged_profiles(self.profiles),
            tls=self._tls(),
            wifi=None if self.dry_run else wifi.asked(self.wifi_ssid, self.wifi_password_file),
            settings=dict(map(_setting, self.settings)),
        )

    def _tls(self) -> brokertls.BrokerTls | None:
        tls = brokertls.read(self.broker, self.tls_ca, self.tls_ca_key, self.tls_cert, self.tls_key)
        if tls is None and self.broker.startswith("mqtts:"):
            message = "an mqtts:// broker needs --tls-ca"
            raise click.UsageError(message)
        return tls


def _setting(text: str) -> tuple[str, Any]:
    name, value = pair(text, "--set")
    with contextlib.suppress(ValueError):
        return name, json.loads(value)
    message = f"--set {name}: not JSON; a text stands in quotes"
    raise click.UsageError(message)
